"""Virtual machines: libvirt domain, overlay disks, the saved ready state, run folders and their leftovers.

The order in which a run uses this package:

    remove_leftovers(runs)                         leftovers.py   what killed runs left behind
    folder = RunFolder.create(runs)                runfolder.py   exclusive, locked, one libvirt root
    ready = ready_state(spec, folder, ...)         ready.py       boots and saves once per image and profile
    machine = LibvirtMachine(folder, spec, ready)  machine.py     start, revert, suspend, screenshot, destroy

or `ready.launch` for the last two.
"""

import os

# libvirt reads this when it is loaded. Its log would go to stderr, where every domain warns that it is
# "tainted"; what matters is raised as an exception.
os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", "4:file:/dev/null")

"""Guest images: from a recipe under `vm/` to a cached, verified folder that machines boot from.

    image = wine.ensure(home, journal)     wine.py      found by the digest of its inputs, or built
    image.disk, image.secrets              base.py      what a machine and a transport use
    list_images(home)                      base.py      all complete images

The steps of a build, in order: rootfs.py, prefix.py, windows_python.py, credentials.py, kernel.py, disk.py.
Each runs its tools through contained.py, so that a build that dies leaves no process and no mount.
"""

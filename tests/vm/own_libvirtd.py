"""A libvirtd of a test's own: its state is in a mount namespace, its program unpacked if the host has none.

The bench needs no daemon, so `make setup` installs none: Debian's package would enable and start libvirtd and
libvirt-guests, bring polkit, and go on doing so on the machine of whoever only wanted to run `make test`. The
program alone (180 KB), with the libraries and the QEMU driver that are there anyway, starts nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from harness.images.contained import root_is_mount_point
from harness.machine.connection import QEMU_CONF

# The folders' real ones on the host are not touched: the namespace is this process's and its children's.
INSIDE = """
for folder in /etc/libvirt /run/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p $folder && mount -t tmpfs tmpfs $folder
done
printf '%s' "$1" > /etc/libvirt/qemu.conf
PATH=$2:$PATH
libvirtd --daemon --pid-file /run/libvirt/libvirtd.pid
shift 2
"$@"
code=$?
kill $(cat /run/libvirt/libvirtd.pid)
exit $code
"""


class NoLibvirtdError(Exception):
    """There is no libvirtd to be had here; the text says why."""


def inside(folder: Path) -> tuple[str, ...]:
    """What to put before a command so that it runs beside a libvirtd of its own.

    Args:
        folder: for the program, if it has to be unpacked.

    Raises:
        NoLibvirtdError: it can be neither found nor fetched, or this process may not make namespaces.
    """
    if not root_is_mount_point():
        raise NoLibvirtdError("/ is no mount point: nothing mounted here could be kept from the host")
    installed = shutil.which("libvirtd")
    programs = Path(installed).parent if installed else _unpacked(folder)
    return ("unshare", "--mount", "sh", "-c", INSIDE, "sh", QEMU_CONF, str(programs))


def _unpacked(folder: Path) -> Path:
    """The program of the version that the installed library has."""
    environment = {**os.environ, "LC_ALL": "C"}

    def said(*command: str) -> str:
        try:
            done = subprocess.run(
                command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=True
            )
        except (OSError, subprocess.SubprocessError) as error:
            words = getattr(error, "stderr", "") or str(error)
            raise NoLibvirtdError(f"{' '.join(command)}: {words.strip()}") from error
        return done.stdout

    version = said("dpkg-query", "--show", "--showformat", "${Version}", "libvirt0")
    said("apt-get", "download", f"libvirt-daemon={version}")
    (package,) = folder.glob("libvirt-daemon_*.deb")
    said("dpkg-deb", "--extract", str(package), str(folder))
    return folder / "usr" / "sbin"

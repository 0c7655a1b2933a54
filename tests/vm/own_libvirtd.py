"""A libvirtd of a test's own: its state is in a mount namespace, its program unpacked if the host has none.

The bench needs no daemon, so `make setup` installs none: Debian's package would enable and start libvirtd and
libvirt-guests, bring polkit, and keep them running on the machine of a user who only wanted to run `make
test`. The program alone (180 KB), with the libraries and the QEMU driver that are there anyway, starts
nothing.
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
daemon=$(cat /run/libvirt/libvirtd.pid)
kill $daemon
tries=0 # until it has ended: whoever looks for what is left would find it
while [ -n "$(tr -d '\\0' 2>/dev/null < /proc/$daemon/cmdline)" ]; do
    tries=$((tries + 1))
    [ $tries -lt 200 ] || break
    sleep 0.05
done
exit $code
"""


class NoLibvirtdError(Exception):
    """No libvirtd can be found or fetched; the text has the reason."""


def inside(folder: Path) -> tuple[str, ...]:
    """The words to put before a command so that it runs with a libvirtd of its own.

    Args:
        folder: for the program, if it has to be unpacked.

    Raises:
        NoLibvirtdError: it can be neither found nor fetched, or this process may not make namespaces.
    """
    if not root_is_mount_point():
        raise NoLibvirtdError("/ is no mount point: nothing mounted here could be kept from the host")
    return ("unshare", "--mount", "sh", "-c", INSIDE, "sh", QEMU_CONF, str(programs(folder)))


def programs(folder: Path) -> Path:
    """Where libvirtd is: installed, or unpacked, of the version that the installed library has.

    Raises:
        NoLibvirtdError: it cannot be fetched.
    """
    installed = shutil.which("libvirtd")
    if installed:
        return Path(installed).parent
    version = _said(folder, "dpkg-query", "--show", "--showformat", "${Version}", "libvirt0")
    return unpacked(folder, f"libvirt-daemon={version}") / "usr" / "sbin"


def unpacked(folder: Path, *packages: str) -> Path:
    """`folder` with these Debian packages unpacked in it, without those that they depend on.

    Raises:
        NoLibvirtdError: one cannot be fetched.
    """
    for package in packages:
        _said(folder, "apt-get", "download", package)
        (file,) = folder.glob("*.deb")
        _said(folder, "dpkg-deb", "--extract", str(file), str(folder))
        file.unlink()
    return folder


def _said(folder: Path, *command: str) -> str:
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", "") or str(error)
        raise NoLibvirtdError(f"{' '.join(command)}: {words.strip()}") from error
    return done.stdout

"""Another libvirt host for a test: namespaces of this one, with a libvirtd and an SSH server of their own.

It has its own loopback, processes and name, and of folders only those that it must not share: /etc/libvirt,
/run and libvirt's state. SSH reaches it without a network: the client's ProxyCommand runs sshd on its ends.
The programs are unpacked if the host has none, for the reason in `own_libvirtd.py`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.images.contained import root_is_mount_point
from harness.machine.connection import QEMU_CONF
from tests.fakes.sftp_server import make_key
from tests.vm import own_libvirtd

NAME = "other"

# Libvirt waits until a QEMU that has ended is reaped: bash, the first process here, does that.
INSIDE = """
set -e
for folder in /run /etc/libvirt /var/lib/libvirt /var/cache/libvirt /var/log/libvirt; do
    mkdir -p $folder && mount -t tmpfs tmpfs $folder
done
hostname {name}
{python} -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP'
mkdir /run/sshd /var/cache/libvirt/qemu
cp /etc/passwd /run/passwd
grep -q ^sshd: /run/passwd || echo sshd:x:64999:65534::/run/sshd:/usr/sbin/nologin >>/run/passwd
mount --bind /run/passwd /etc/passwd
[ ! -d "$3" ] || cp -r "$3"/. /var/cache/libvirt/qemu/
printf '%s' "$1" >/etc/libvirt/qemu.conf
PATH=$2:$PATH libvirtd --daemon --pid-file /run/libvirtd.pid
echo ready
read -r _ || exit 0
"""

SSHD = """
HostKey {folder}/host
AuthorizedKeysFile {folder}/client.pub
StrictModes no
UsePAM no
PidFile none
PermitRootLogin yes
SetEnv PATH={folder}/there:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""

CLIENT = """
Host {name}
  ProxyCommand env LD_LIBRARY_PATH={libraries} nsenter -t {pid} -m -n -p -u {sshd} -i -f {folder}/sshd_config
  UserKnownHostsFile {folder}/known_hosts
  GlobalKnownHostsFile /dev/null
"""


@dataclass(frozen=True)
class OtherHost:
    """A running one."""

    uri: str
    pid: int

    def run(self, *command: str) -> str:
        """The output of a command on that host."""
        inside = ["nsenter", "-t", str(self.pid), "-m", "-n", "-p", "-u", *command]
        return subprocess.run(inside, capture_output=True, text=True, check=True).stdout

    def domains(self) -> list[str]:
        """Names of its living domains."""
        return self.run("virsh", "--connect", "qemu:///system", "list", "--name").split()


@contextmanager
def other_host(
    folder: Path, cache: Path, qemu_conf: str = QEMU_CONF, *, hidden: str = ""
) -> Iterator[OtherHost]:
    """The host for the time of the context; its QEMUs end with it.

    Args:
        folder: for its keys and configuration, and for programs that have to be unpacked.
        cache: what libvirt found out about QEMU, if anything.
        hidden: a folder that it does not share.

    Raises:
        NoLibvirtdError: a program is missing and cannot be fetched, or this process may not make namespaces.
    """
    if not root_is_mount_point():
        raise own_libvirtd.NoLibvirtdError("/ is no mount point: nothing could be kept from this host")
    path = os.environ["PATH"]
    programs = own_libvirtd.programs(folder)
    sshd = (
        shutil.which("sshd", path="/usr/sbin")
        or own_libvirtd.unpacked(folder, "openssh-server", "libwrap0") / "usr" / "sbin" / "sshd"
    )
    make_key(folder / "host")
    make_key(folder / "client")
    for name in ("host", "client"):
        (folder / name).chmod(0o600)
    if not shutil.which("nc"):  # libvirt's tunnel ends in it
        netcat = own_libvirtd.unpacked(folder, "netcat-openbsd", "libbsd0", "libmd0")
        libraries = f"{netcat}/usr/lib/x86_64-linux-gnu:{netcat}/lib/x86_64-linux-gnu"
        script_in(folder / "there", "nc", f'LD_LIBRARY_PATH={libraries} exec {netcat}/bin/nc.openbsd "$@"')
    (folder / "known_hosts").write_text(f"{NAME} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    script = INSIDE.format(name=NAME, python=sys.executable)
    script = f"mount -t tmpfs tmpfs {hidden}\n{script}" if hidden else script
    namespaces = ["--mount", "--net", "--pid", "--uts", "--fork", "--mount-proc", "--kill-child"]
    outside = subprocess.Popen(
        ["unshare", *namespaces, "bash", "-c", script, "bash", qemu_conf, str(programs), str(cache)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert outside.stdout is not None
        if outside.stdout.readline() != "ready\n":
            raise own_libvirtd.NoLibvirtdError(
                "namespaces cannot be made, or libvirtd does not start in them"
            )
        children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children").read_text()
        pid = int(children.split()[0])
        libraries = f"{folder}/usr/lib/x86_64-linux-gnu:{folder}/lib/x86_64-linux-gnu"
        configuration = CLIENT.format(name=NAME, pid=pid, sshd=sshd, folder=folder, libraries=libraries)
        (folder / "ssh_config").write_text(configuration)
        # A URI in winvm.toml names no program, so the client is found by PATH.
        real = shutil.which("ssh", path="/usr/bin:/bin")
        client = script_in(folder / "here", "ssh", f'exec {real} -F {folder}/ssh_config "$@"')
        os.environ["PATH"] = f"{client.parent}:{path}"
        yield OtherHost(f"qemu+ssh://root@{NAME}/system?keyfile={folder}/client", pid)
    finally:
        os.environ["PATH"] = path
        outside.kill()
        outside.communicate()


def script_in(folder: Path, name: str, line: str) -> Path:
    """A shell script of one line, made with its folder."""
    folder.mkdir(exist_ok=True)
    script = folder / name
    script.write_text(f"#!/bin/sh\n{line}\n")
    script.chmod(0o755)
    return script

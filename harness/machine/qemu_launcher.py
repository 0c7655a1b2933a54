"""Starts QEMU for root as an ordinary user of the run's own, in a file system that holds only what it needs.

libvirt runs this file in QEMU's place, as root. It makes a mount namespace with /usr, a few devices, the
machine's folder and the files that its disks are made of, gives up root and capabilities, and becomes QEMU.
Without `FOLDER` in its environment it only gives up the capabilities: libvirt asks QEMU what it can do, or a
machine is installed. It is run by path, isolated, without site packages: it imports nothing of winvm.

Sources: mount(2), unshare(2), setgroups(2), prctl(2), capabilities(7).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import os
import resource
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

QEMU = "/usr/bin/qemu-system-x86_64"
FOLDER, USER, READS, MEMORY = "WINVM_FOLDER", "WINVM_USER", "WINVM_READS", "WINVM_MEMORY"
"""Environment: the machine's folder; the user's id; a JSON list of files; address space in bytes."""
GROUP = "WINVM_GROUP"
"""Environment: the file into which a process writes 0 to enter the run's cgroup; missing without one."""
IMAGES_GROUP = 0x70000000
"""The group that may read images. No account has it, and their folders are root's."""
DEVICES = ("null", "zero", "random", "urandom", "kvm")

_NEWNS, _NEWUTS, _NEWIPC = 0x20000, 0x4000000, 0x8000000
_RDONLY, _NOSUID, _NODEV, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
_SET_NAME, _CAPBSET_DROP, _NO_NEW_PRIVS = 15, 24, 38
_CAPABILITIES = 64
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(arguments: Sequence[str], program: str = QEMU) -> None:
    """Becomes QEMU, or another program below /usr; raises `OSError` when the host forbids a step."""
    _LIBC.prctl(_SET_NAME, b"qemu-system-x86", 0, 0, 0)  # so it is called from now on, also if a step fails
    enter_group(os.environ.pop(GROUP, ""))  # where that fails, the bound on address space remains
    folder = os.environ.pop(FOLDER, "")
    if folder and os.geteuid() == 0:
        user = int(os.environ.pop(USER))
        reads = [Path(name) for name in json.loads(os.environ.pop(READS))]
        memory = int(os.environ.pop(MEMORY))
        _enter(Path(folder), reads, _secrets(arguments), user)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    elif os.geteuid() == 0:
        for number in range(_CAPABILITIES):  # root's are those of the bounding set after execve(2)
            _LIBC.prctl(_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0)
    os.execv(program, [program, *arguments])  # noqa: S606


def enter_group(members: str) -> None:
    """Enters the cgroup whose `MemoryGroup.members` this is; does nothing if it is empty or forbidden."""
    if members:
        with contextlib.suppress(OSError):
            Path(members).write_text("0", encoding="ascii")


def _enter(folder: Path, reads: Sequence[Path], secrets: Sequence[Path], user: int) -> None:
    _call("unshare", _NEWNS | _NEWUTS | _NEWIPC)
    _mount("", Path("/"), "", _REC | _PRIVATE)
    root = folder / "root"
    root.mkdir(exist_ok=True)
    keys = [(path, path.read_bytes()) for path in secrets]
    _mount("tmpfs", root, "tmpfs", _NOSUID, "mode=755,size=4m")
    for name in ("usr", "bin", "sbin", "lib", "lib64", "etc/ld.so.cache", "etc/qemu"):
        source = Path("/", name)
        if source.is_symlink():
            (root / name).symlink_to(source.readlink())
        elif source.exists():
            _bind(source, root, _RDONLY | _NOSUID | _NODEV)
    groups = [IMAGES_GROUP]
    for name in DEVICES:
        device = Path("/dev", name)
        if device.exists():
            _bind(device, root, 0)
            found = device.stat()
            if found.st_mode & stat.S_IRGRP and not found.st_mode & stat.S_IROTH:
                groups.append(found.st_gid)  # that of /dev/kvm
    _bind(folder, root, _NOSUID | _NODEV)
    for path in reads:
        if path.exists():  # another run may have removed a saved state that this one does not use
            _bind(path, root, _RDONLY | _NOSUID | _NODEV)
    for path, content in keys:
        inside = root / path.relative_to("/")
        inside.parent.mkdir(parents=True, exist_ok=True)
        inside.write_bytes(content)
        inside.chmod(0o400)
        os.chown(inside, user, user)
    os.chroot(root)
    os.chdir("/")
    os.setgroups(groups)
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    _call("prctl", _NO_NEW_PRIVS, 1, 0, 0, 0)


def _secrets(arguments: Sequence[str]) -> list[Path]:
    """Files with secrets that libvirt made for QEMU, and are root's: -object {"qom-type": "secret"}."""
    found = []
    for option, value in itertools.pairwise(arguments):
        if option == "-object" and value.startswith("{"):
            described = json.loads(value)
            if described.get("qom-type") == "secret" and "file" in described:
                found.append(Path(described["file"]))
    return found


def _bind(source: Path, root: Path, flags: int) -> None:
    """Shows a file or folder under the same path, without what is mounted below it."""
    target = root / source.relative_to("/")
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(str(source), target, "", _BIND)
    if flags:
        _mount("", target, "", _BIND | _REMOUNT | flags)


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    if _LIBC.mount(source.encode(), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()):
        number = ctypes.get_errno()
        raise OSError(number, f"mount: {os.strerror(number)}", str(target))


def _call(name: str, *arguments: int) -> None:
    if getattr(_LIBC, name)(*map(ctypes.c_ulong, arguments)):
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


if __name__ == "__main__":
    main(sys.argv[1:])

"""The ordinary user that root's QEMU runs as: one for each run, with the files that are handed over to it.

The user has no name and no entry in /etc/passwd: its id is derived from the run's, above those that systemd
gives to containers (0x6fffffff). Images stay root's, with a group that may read them, in closed folders.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shlex
import stat
import sys
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError
from harness.host import programs
from harness.host.memory_group import MemoryGroup
from harness.host.private import private_folder
from harness.machine import qemu_launcher
from harness.machine.qemu_launcher import FOLDER, GROUP, IMAGES_GROUP, MEMORY, QEMU, READS, USER

OVERHEAD = 8 << 30
"""Address space that QEMU takes beside the guest's memory, at most, in bytes."""
OVERHEAD_USED = 2 << 30
"""Memory that it takes beside the guest's, at most, in bytes; translated code alone may have 1 GiB."""
KVM = Path("/dev/kvm")
PROBE_S = 5.0
_READABLE = 0o440
_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"


class QemuUser:
    """The user of one run's QEMUs.

    Args:
        run: the run folder.
        confines: otherwise QEMU stays root's, and only has no capability.
        group: the run's memory cgroup, if it has one.
    """

    def __init__(self, run: Path, *, confines: bool = True, group: MemoryGroup | None = None) -> None:
        self._confines, self._group = confines, group
        self._used: dict[Path, int] = {}
        digest = hashlib.sha256(os.fsencode(run.name)).digest()
        self.id = IMAGES_GROUP + 1 + int.from_bytes(digest[:4], "big") % 0x0FFFFFF0
        self._emulator = run.parent.parent / "qemu" / "qemu-system-x86_64"

    def confined(self, xml: str, folder: Path, own: Sequence[Path], disks: Sequence[Path]) -> str:
        """A domain's XML with the launcher as its emulator, and the files handed over.

        An installation keeps root's QEMU: it reads ISOs of the user's. So does a machine with a TPM, whose
        emulator's socket libvirt makes elsewhere.

        Args:
            folder: the machine's; QEMU sees it, and what is the user's there is writable.
            own: files of the machine that QEMU writes.
            disks: the images below the machine's own disk.
        """
        domain = ET.fromstring(xml)  # noqa: S314 - made here
        devices, line = domain.find("devices"), domain.find(f"{{{_NAMESPACE}}}commandline")
        assert devices is not None
        ET.register_namespace("qemu", _NAMESPACE)
        if line is None:  # a machine whose template passes QEMU nothing by itself
            line = ET.SubElement(domain, f"{{{_NAMESPACE}}}commandline")
        emulator = ET.Element("emulator")
        emulator.text = str(self._written())
        devices.insert(0, emulator)
        memory = int(domain.findtext("memory", "0")) << 20
        values = self._group_entered(folder, memory)
        other = devices.find("tpm") is not None or devices.find("disk[@device='cdrom']") is not None
        if self._confines and not other:
            named = [one.text or "" for one in domain.iterfind("os/*") if one.tag in ("kernel", "initrd")]
            reads = [path for path in (*disks, *map(Path, named)) if path.exists()]
            self._hand_over(own, reads)
            values |= {
                FOLDER: str(folder),
                USER: str(self.id),
                READS: json.dumps([str(path) for path in reads]),
                MEMORY: str(memory + OVERHEAD),
            }
        for name, value in values.items():
            ET.SubElement(line, f"{{{_NAMESPACE}}}env", {"name": name, "value": value})
        return ET.tostring(domain, encoding="unicode")

    def _group_entered(self, folder: Path, memory: int) -> dict[str, str]:
        """Makes room for a machine in the run's group; the environment by which its QEMU enters."""
        if self._group:
            self._used[folder] = memory + OVERHEAD_USED
            with contextlib.suppress(OSError):
                self._group.limit(sum(self._used.values()))
                return {GROUP: str(self._group.members)}
        return {}

    def take_back(self, path: Path) -> None:
        """Makes a file that was handed over root's, for other runs' users to read."""
        os.chown(path, 0, IMAGES_GROUP, follow_symlinks=False)
        path.chmod(_READABLE)

    def _hand_over(self, own: Sequence[Path], reads: Sequence[Path]) -> None:
        for path in reads:
            found = path.stat()
            # A change, even one to the same values, moves the inode's time, and the next run would read the
            # whole disk again to verify it.
            as_wanted = found.st_gid == IMAGES_GROUP and stat.S_IMODE(found.st_mode) == _READABLE
            if not found.st_mode & stat.S_IROTH and not as_wanted:
                os.chown(path, -1, IMAGES_GROUP)
                path.chmod(_READABLE)
        for path in own:
            os.chown(path, self.id, self.id, follow_symlinks=False)

    def _written(self) -> Path:
        """The program that libvirt runs. It changes with QEMU, whose capabilities libvirt remembers by it."""
        found = Path(QEMU).stat()
        launcher = shlex.join([sys.executable, "-IS", qemu_launcher.__file__])
        text = f'#!/bin/sh\n# QEMU of {found.st_mtime_ns}, {found.st_size} bytes\nexec {launcher} "$@"\n'
        if not self._emulator.exists() or self._emulator.read_text(encoding="utf-8") != text:
            private_folder(self._emulator.parent)
            new = self._emulator.with_suffix(f".{os.getpid()}")
            new.write_text(text, encoding="utf-8")
            new.chmod(0o700)
            new.replace(self._emulator)
        return self._emulator


def user_for(run: Path, *, shared: bool, kvm: bool, group: MemoryGroup | None = None) -> QemuUser | None:
    """The user of a run's QEMUs; None where they run as the user who runs winvm, or as a daemon says.

    Root's QEMUs stay root's where the host forbids mounts, as some containers do.

    Args:
        shared: a daemon starts them.
        kvm: they need /dev/kvm, which only root may use on some hosts.
        group: the run's memory cgroup.
    """
    if shared or os.geteuid() != 0:
        return None
    confines = _mounts_allowed() and not (kvm and KVM.stat().st_mode & 0o066 == 0)
    return QemuUser(run, confines=confines, group=group)


@functools.cache
def _mounts_allowed() -> bool:
    """Whether this process may make a mount namespace; takes 3 ms once."""
    mount = ["unshare", "--mount", "--ipc", "--uts", "--", "mount", "-t", "tmpfs", "tmpfs", "/tmp"]  # noqa: S108
    try:
        return programs.run(mount, Deadline.after(PROBE_S)).code == 0
    except (HostError, DeadlineError):
        return False

"""Rungs of the dump ladder for a Windows guest: its own file, its disk, its memory."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.crash.dump_ladder import Rung, check
from harness.crash.elf_conversion import convert
from harness.deadline import Deadline
from harness.dumps.formats.kerneldump import SIGNATURE
from harness.errors import DeadlineError, DumpError, HostError, MachineError, TransportError, WinvmError
from harness.host import confined
from harness.interfaces import FileTransfer
from harness.machine.protocol import Machine, MemoryDump
from harness.offline.disk import OfflineDisk
from harness.offline.windows import dumps, find_windows
from harness.outcome import KernelCrash

GUEST_SECONDS = 600.0
"""Windows writes the dump, restarts, and copies it from the page file while it boots."""
DISK_SECONDS = 600.0
MEMORY_SECONDS = 300.0
STOP_SECONDS = 20.0
"""Time for a guest that still runs to flush its file systems."""
LIMIT = 64 << 30
"""Largest dump that is copied, in bytes, holes included."""
CONVERTER = "elf2dmp"


def guest_rung(files: Callable[[], FileTransfer], path: str, settled_s: float = 2.0) -> Rung:
    """Waits until the guest answers again and the size of its dump is stable, then copies the dump.

    Args:
        files: opens a new connection to the guest; those from before the crash are dead.
        path: of the dump in the guest, e.g. `C:\\Windows\\MEMORY.DMP`.
        settled_s: seconds for which the dump's size must stay the same.
    """

    def fetch(file: Path, deadline: Deadline) -> None:
        size: int | None = None
        reason = "the guest does not answer"
        for _ in deadline.tries(every=settled_s):
            try:
                with contextlib.closing(files()) as connection:
                    now = connection.size(path, deadline)
                    if now and now == size:
                        connection.pull(path, file, deadline, LIMIT)
                        return
                size, reason = now, f"{path} has {now or 0} bytes"
            except TransportError as error:
                size, reason = None, error.message.rstrip(".")
        raise DeadlineError(f"The guest yielded no dump within {deadline.seconds:g} s: {reason}.")

    return Rung("guest", GUEST_SECONDS, fetch)


def disk_rung(machine: Machine, crash: KernelCrash) -> Rung:
    """Powers the machine off and reads the dump from its disk, see `harness.offline.windows.dumps`."""

    def fetch(file: Path, deadline: Deadline) -> None:
        machine.stop(deadline.at_most(STOP_SECONDS))
        reasons = []
        with OfflineDisk(machine.disk, deadline) as disk:
            windows = find_windows(disk.volumes, deadline)
            for path in dumps(windows, deadline):
                try:
                    windows.copy_out(path, file, deadline, LIMIT)
                    check(file, crash)
                except WinvmError as error:
                    reasons.append(f"{path}: {error.message}")
                else:
                    return
        raise DumpError("; ".join(reasons) or "Windows left no dump on its disk.")

    return Rung("offline disk", DISK_SECONDS, fetch)


def memory_rung(machine: Machine) -> Rung:
    """Has QEMU write the machine's memory as a Windows dump, or as ELF that is converted.

    Our own conversion needs no symbols; elf2dmp finds the kernels that it does not.
    """

    def fetch(file: Path, deadline: Deadline) -> None:
        refused = _refused(machine, file, deadline)
        if not refused:
            return
        core = file.with_suffix(".elf")
        try:
            machine.dump_memory(core, MemoryDump.ELF, deadline)
            try:
                convert(core, file, deadline)
            except DumpError as error:
                _require_converter(f"{refused}; {error.message.rstrip('.')}")
                _convert(core, file, deadline)
        finally:
            core.unlink(missing_ok=True)

    return Rung("host memory", MEMORY_SECONDS, fetch)


def _require_converter(tried: str) -> None:
    if shutil.which(CONVERTER) is None:
        raise HostError(
            f"QEMU made no Windows dump ({tried}), and {CONVERTER} is not installed.",
            remedy="Install virtio-win's fwcfg driver in the guest, or QEMU's elf2dmp on the host.",
        )


def _refused(machine: Machine, file: Path, deadline: Deadline) -> str:
    """Has QEMU write a Windows dump; returns why QEMU refused, empty if it did not."""
    try:
        machine.dump_memory(file, MemoryDump.WINDOWS, deadline)
    except MachineError as error:
        file.unlink(missing_ok=True)
        return error.message.rstrip(".")
    return ""


def _convert(core: Path, file: Path, deadline: Deadline) -> None:
    """Runs elf2dmp, which finds the kernel in memory and downloads its symbols; this needs a network."""
    size = core.stat().st_size
    limits = confined.Limits(memory=(4 << 30) + 2 * size, cpu_s=600, file=2 * size + (64 << 20))
    file.touch(mode=0o600)
    for handed in (core, file):
        confined.hand_over(handed)
    try:
        done = confined.run(
            [CONVERTER, str(core), str(file)],
            deadline,
            reads=[core],
            writes=[file],
            limits=limits,
            network=True,
        )
    finally:
        os.chown(file, os.geteuid(), os.getegid())
    with file.open("rb") as dump:
        start = dump.read(len(SIGNATURE))
    if done.code or start != SIGNATURE:
        raise HostError(
            f"{CONVERTER} {confined.describe(done.code, limits)}.",
            detail=done.said,
        )

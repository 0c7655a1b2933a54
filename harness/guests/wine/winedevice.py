"""The memory of winedevice.exe, in which a Wine guest runs its drivers, as the Linux below Wine shows it.

A hung driver hangs this process alone: the guest's SSH server still answers, and serves /proc (proc(5): comm,
maps, pagemap, mem). Most of what the process has reserved was never written: pages that are not there are not
read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from harness.crash.held import Held
from harness.deadline import Deadline
from harness.display.terminal import printable
from harness.dumps.kernel.held_irps import ProcessMemory, driver_object, held_irps
from harness.dumps.summary import Module
from harness.errors import TransportError, WinvmError
from harness.guests.wine.debug_lines import LoadedDriver
from harness.transports.sftp import SftpTransfer

SECONDS = 30.0
"""For all that is read here."""
SOURCE = "the driver object and the IRPs in the memory of winedevice.exe"
_COMM, _DEBUGGER = b"winedevice.exe", b"crashdump.exe"
_MAX_THREADS = 8
_MAX_PROCESSES, _MAX_MAPS = 512, 1 << 20
_MAX_PART, _MAX_MEMORY = 16 << 20, 64 << 20
_HEADERS = 0x1000
_PAGE = 4096
_PRESENT = 0xC0
"""In the highest byte of a page's entry in pagemap: present, or swapped out."""
_MAP = re.compile(rb"([0-9a-f]{1,16})-([0-9a-f]{1,16}) (.{4}) [0-9a-f]+ [0-9a-f:]+ (\d+) *(.*)")


def held(files: SftpTransfer, driver: LoadedDriver, deadline: Deadline, proc: str = "/proc") -> Held:
    """The IRPs that a driver holds.

    Args:
        proc: where the guest's server has its processes.

    Raises:
        TransportError, DeadlineError: the guest's SSH server does not answer.
    """
    name = driver.path.rpartition("\\")[2]
    for path in _processes(files, proc, deadline):
        (head,) = files.server_parts(f"{path}/mem", [(driver.base, _HEADERS)], deadline)
        module = _module(name, driver, head)
        if module is None:
            continue
        memory = _memory(files, path, deadline)
        found = driver_object(memory, driver.base)
        if found is not None:
            return Held(module, held_irps(memory, found), SOURCE)
    raise TransportError(f"No process of the guest has a driver object of {name}.")


def debugger_state(files: SftpTransfer, deadline: Deadline, proc: str = "/proc") -> str:
    """One sentence on the program that writes the minidump, which a guest may have started and not ended."""
    try:
        for path in _processes(files, proc, deadline, _DEBUGGER):
            (stat,) = files.server_parts(f"{path}/stat", [(0, 4096)], deadline)
            threads = files.server_names(f"{path}/task", deadline)[:_MAX_THREADS]
            waits = [
                files.server_parts(f"{path}/task/{one}/wchan", [(0, 64)], deadline)[0] for one in threads
            ]
            return _described(stat, waits)
    except WinvmError as error:
        return f"Whether its writer still runs is not known: {error.message}"
    return "No crashdump.exe runs in the guest, which would write it."


def _described(stat: bytes, waits: list[bytes]) -> str:
    fields = stat.rpartition(b")")[2].split()
    state = fields[0].decode("ascii", "replace") if fields else "?"
    ticks = sum(int(field) for field in fields[11:13] if field.isdigit())
    places = ", ".join(printable(wait.decode("ascii", "replace"))[:40] or "0" for wait in waits)
    return (
        f"crashdump.exe, which writes it, still runs: state {state}, {ticks / 100:.1f} s of processor time, "
        f"threads wait in {places} (/proc)."
    )


def _processes(files: SftpTransfer, proc: str, deadline: Deadline, wanted: bytes = _COMM) -> Iterator[str]:
    """Folders of the guest's processes of one program, the newest first."""
    numbers = [name for name in files.server_names(proc, deadline) if name.isascii() and name.isdigit()]
    for number in sorted(numbers, key=int, reverse=True)[:_MAX_PROCESSES]:
        try:
            (comm,) = files.server_parts(f"{proc}/{number}/comm", [(0, 64)], deadline)
        except TransportError:
            continue  # it has ended
        if comm.strip() == wanted:
            yield f"{proc}/{number}"


def _memory(files: SftpTransfer, process: str, deadline: Deadline) -> ProcessMemory:
    """What the process can write and no file backs: its heaps are among that."""
    (maps,) = files.server_parts(f"{process}/maps", [(0, _MAX_MAPS)], deadline)
    parts, total = [], 0
    for line in maps.split(b"\n"):
        found = _MAP.fullmatch(line)
        if found is None or not found[3].startswith(b"rw") or found[4] != b"0" or found[5].startswith(b"["):
            continue
        start, end = int(found[1], 16), int(found[2], 16)
        if 0 < end - start <= _MAX_PART and total + end - start <= _MAX_MEMORY:
            parts.append((start, end - start))
            total += end - start
    entries = [(start // _PAGE * 8, size // _PAGE * 8) for start, size in parts]
    tables = files.server_parts(f"{process}/pagemap", entries, deadline)
    parts = [run for (start, _), table in zip(parts, tables, strict=True) for run in _present(start, table)]
    contents = files.server_parts(f"{process}/mem", parts, deadline)
    return ProcessMemory((start, content) for (start, _), content in zip(parts, contents, strict=True))


def _present(start: int, table: bytes) -> Iterator[tuple[int, int]]:
    """(address, size) of the runs of pages that are there, by their entries in pagemap."""
    begun: int | None = None
    count = len(table) // 8
    for page in range(count + 1):
        there = page < count and bool(table[8 * page + 7] & _PRESENT)
        if there and begun is None:
            begun = page
        elif not there and begun is not None:
            yield start + begun * _PAGE, (page - begun) * _PAGE
            begun = None


def _module(name: str, driver: LoadedDriver, head: bytes) -> Module | None:
    """The image whose headers are these; None if they are none."""
    if len(head) < 0x40 or not head.startswith(b"MZ"):
        return None
    (at,) = struct.unpack_from("<I", head, 0x3C)
    if head[at : at + 4] != b"PE\0\0" or len(head) < at + 0x54:
        return None
    (stamp,) = struct.unpack_from("<I", head, at + 8)
    (size,) = struct.unpack_from("<I", head, at + 24 + 56)
    return Module(name, driver.path, driver.base, size, stamp)

"""DUMP_HEADER64, the first 0x2000 bytes of every 64-bit kernel dump.

Windows first fills the header with the text `PAGE`: a field with this value was never written.
"""

from __future__ import annotations

import struct
import time
from typing import Any

from harness.dumps import cpu
from harness.dumps.dumpfile import DumpFile
from harness.dumps.record import record
from harness.dumps.summary import ExceptionRecord
from harness.errors import DumpError

SIGNATURE = b"PAGEDU64"
SIZE = 0x2000
BUGCHECK_END = 0x60
"""Smallest usable header, in bytes: a shorter one does not hold the bugcheck."""

TYPES = {
    **{1: "full", 2: "summary", 3: "header", 4: "triage", 5: "bitmap", 6: "bitmap", 7: "automatic"},
    **{8: "kernel", 9: "kernel-and-user", 10: "complete"},
}
TRIAGE = 4

_BUILDS = range(1000, 100_000)
_PROCESSORS = range(1, 2049)
"""Windows Server uses at most 2048 logical processors (Microsoft Learn)."""
_UP_TIMES = range(100 * 366 * 86400 * 10_000_000)
_TIMES = range(0x01B7_7B67_AD94_4000, 0x0240_0000_0000_0000)
"""FILETIMEs of the years 1993 to 2114."""
_PRODUCTS = {1: "workstation", 2: "domain controller", 3: "server"}
_FILL = b"PAGE"
_FILETIME_EPOCH_S = -11_644_473_600
"""The year 1601 in UNIX time."""
_LATEST_FILETIME = 0x24C8_5995_A756_8000  # year 9999
_MAX_RUNS = 42


@record
class KernelHeader:
    """Fields of the header; None where one was not written. Times are in 100 ns units."""

    machine: int
    build: int | None
    checked: bool
    page_table: int
    module_list: int
    debugger_data: int
    processors: int | None
    bugcheck: int
    parameters: tuple[int, int, int, int]
    runs: tuple[tuple[int, int], ...]
    context: bytes
    exception: ExceptionRecord | None
    type_number: int | None
    system_time: int | None
    up_time: int | None
    product: int | None
    writer_status: int | None
    comment: str
    doubts: tuple[str, ...] = ()
    """What the header says and cannot be right; these fields are None."""

    @property
    def type(self) -> str:
        """Name of the dump's type."""
        return TYPES.get(self.type_number or 0, "unknown")

    @property
    def arch(self) -> str:
        """Name of the machine's architecture; `unknown` when the header does not hold it."""
        return cpu.ARCHITECTURES.get(self.machine, f"{self.machine:#x}" if self.machine else "unknown")

    def system(self) -> dict[str, Any]:
        """The `system` part of the summary."""
        return {
            "build": self.build,
            "checked": self.checked,
            "processors": self.processors,
            "uptime_s": None if self.up_time is None else self.up_time / 10_000_000,
            "time": _utc(self.system_time),
            "product": _PRODUCTS.get(self.product or 0),
            "comment": self.comment,
        }


def read_header(file: DumpFile) -> KernelHeader:
    """Reads the header of a dump that starts with `PAGEDU64`; fields past the file's end count as absent.

    Raises:
        DumpError: the file ends before the bugcheck's parameters, or nothing follows its signature.
    """
    if file.size < BUGCHECK_END:
        raise DumpError(
            f"{file.path} is truncated: {file.size} bytes hold no bugcheck.",
            remedy="Copy it from the guest again.",
        )
    whole = file.read(0, SIZE)
    data = whole[: len(whole) & ~3]
    data += _FILL * ((SIZE - len(data)) // 4)

    def u32(offset: int) -> int | None:
        return None if data[offset : offset + 4] == _FILL else struct.unpack_from("<I", data, offset)[0]

    def u64(offset: int) -> int | None:
        return None if data[offset : offset + 8] == _FILL * 2 else struct.unpack_from("<Q", data, offset)[0]

    doubts = []

    def within(name: str, value: int | None, values: range) -> int | None:
        if value is None or value in values:
            return value
        doubts.append(f"The header's {name}, {value:#x}, cannot be right: it is left out.")
        return None

    if not u32(0x30) and not u32(0x38) and not u32(0xC):
        raise DumpError(
            f"{file.path} is empty behind its signature: the header names no machine, build or bugcheck.",
            remedy="Copy it from the guest again.",
        )
    p1, p2, p3, p4 = (u64(offset) or 0 for offset in range(0x40, 0x60, 8))
    runs = struct.iter_unpack("<QQ", data[0x98 : 0x98 + 16 * min(u32(0x88) or 0, _MAX_RUNS)])
    return KernelHeader(
        machine=u32(0x30) or 0,
        build=within("build", u32(0xC), _BUILDS),
        checked=u32(0x8) == 0xC,
        page_table=u64(0x10) or 0,
        module_list=u64(0x20) or 0,
        debugger_data=u64(0x80) or 0,
        processors=within("number of processors", u32(0x34), _PROCESSORS),
        bugcheck=u32(0x38) or 0,
        parameters=(p1, p2, p3, p4),
        runs=tuple((first, count) for first, count in runs),
        context=data[0x348:0xF00] if u32(0x348) is not None else b"",
        exception=cpu.exception_record(data[0xF00:0xF98]) if u32(0xF00) is not None else None,
        type_number=u32(0xF98),
        system_time=within("time", u64(0xFA8) or None, _TIMES),
        up_time=within("up time", u64(0x1030), _UP_TIMES),
        product=u32(0x1040),
        writer_status=u32(0x1048),
        comment=_comment(data[0xFB0:0x1030]),
        doubts=tuple(doubts),
    )


def _comment(data: bytes) -> str:
    if data.startswith(_FILL):
        return ""
    text = data.partition(b"\0")[0].decode("ascii", "replace")
    return "".join(character for character in text if character.isprintable())


def _utc(filetime: int | None) -> str | None:
    """ISO 8601 with microseconds, truncated, not rounded: a float would lose digits."""
    if not filetime or filetime > _LATEST_FILETIME:
        return None
    seconds, ticks = divmod(filetime, 10_000_000)
    moment = time.gmtime(seconds + _FILETIME_EPOCH_S)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{ticks // 10:06}Z"

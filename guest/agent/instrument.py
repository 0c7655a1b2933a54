"""Reads what an instrumented driver counted: from its channel while it runs, else from its records.

`driver/instrument/` is the other end; instrument.h has the numbers. The channel is a device of its own,
`\\Device\\WinvmInstrument-<service>`.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import NtStatusError, WaitTimeoutError, Win32Error
from agent.win32.handle import Scope
from agent.win32.native import NativeDevice

COVERAGE = "coverage"
MAGIC = 0x494D5657
IDENTITY, COUNTERS = 0, 1
RECORD = struct.Struct("<IIQQ")  # magic, part, instance, bytes that follow
IDENTIFIES = struct.Struct("<IIQQ")  # magic, version, instance, bytes of counters
VERSION = 1
CHUNK = 1 << 20  # bytes of one request at most
LARGEST = 64 << 20  # bytes of counters; a driver of a million lines has fewer
RECORDS = r"C:\winvm\run"
"""Where driver/instrument/record.c writes `<service>.instrument`."""
LONGEST = 900_000  # characters of one answer; the host takes lines of 1 MiB
GENERIC_READ = 0x80000000

Read = Callable[[str, Scope], tuple[bytes, bytes]]
"""Reads identity and counters from a service's channel; raises `Win32Error` or `NtStatusError`."""


@dataclass(frozen=True)
class Taken:
    """What was counted since the last time.

    Attributes:
        counters: compressed by zlib, in base64: little-endian numbers of 8 bytes; empty if nothing was.
        trouble: why something may be missing.
    """

    counters: str = ""
    trouble: str = ""


class Instrumented:
    """The counters of one driver over all times that it is loaded.

    Args:
        service: its service; None for a driver without counters, of which nothing is read.
        records: the folder of records; a scenario may have loaded the driver under other names, too.
        read: see `Read`.
    """

    def __init__(self, service: str | None, records: str, read: Read) -> None:
        self._service = service
        self._records = records
        self._read = read
        self._seen: dict[int, bytes] = {}
        if service:
            self._remove()  # records of an earlier run in this guest

    def take(self, scope: Scope, *, runs: bool = True) -> Taken:
        """What was counted since the last time. runs: the driver is loaded, so its channel is read, too."""
        if not self._service:
            return Taken()
        trouble, now = "", {}
        try:
            finished = [one for path in self._files() for one in _recorded(path)]
        except (OSError, ValueError) as error:
            finished, trouble = [], f"the driver's records cannot be read: {error}"
        if runs:
            try:
                now = dict([self._counters(scope)])
            except (Win32Error, NtStatusError, WaitTimeoutError, ValueError) as error:
                trouble = trouble or f"the driver's counters cannot be read: {error}"
        answer = _packed(_difference([*finished, *now.items()], self._seen))
        if len(answer) > LONGEST:
            return Taken("", f"{len(answer)} characters of counters are more than an answer takes")
        self._remove()
        self._seen = now or ({} if finished else self._seen)
        return Taken(answer, trouble)

    def _files(self) -> list[Path]:
        return sorted(Path(self._records).glob("*.instrument"))

    def _remove(self) -> None:
        for path in self._files():
            with contextlib.suppress(OSError):  # its records are counted once more at worst
                path.unlink()

    def _counters(self, scope: Scope) -> tuple[int, bytes]:
        assert self._service
        identity, content = self._read(self._service, scope)
        magic, version, instance, size = IDENTIFIES.unpack(identity)
        if (magic, version) != (MAGIC, VERSION):
            raise ValueError(f"the channel's identity is {magic:#x}, version {version}")
        if len(content) != size:
            raise ValueError(f"{len(content)} of {size} bytes of counters")
        return instance, content


def read_channel(service: str, scope: Scope) -> tuple[bytes, bytes]:
    """Identity and counters of a channel, at most `LARGEST` bytes; raises `Win32Error` and `NtStatusError`.

    The buffers are as large as the counters are: the guest clears and copies all of a buffer at each request,
    and a scenario takes little longer than the copy of a mebibyte.
    """
    with NativeDevice.open(rf"\Device\WinvmInstrument-{service}", scope, access=GENERIC_READ) as channel:
        identity = _part(channel, IDENTITY, IDENTIFIES.size)
        size = IDENTIFIES.unpack(identity)[3] if len(identity) == IDENTIFIES.size else 0
        return identity, _part(channel, COUNTERS, min(size, LARGEST))


def _part(channel: NativeDevice, part: int, size: int) -> bytes:
    """A part, read until `size` bytes are there or it ends."""
    code = (0x22 << 16) | (1 << 14) | ((0x800 + part) << 2)
    offset = ctypes.c_uint64(0)
    buffer = ctypes.create_string_buffer(max(1, min(size, CHUNK)))
    content = bytearray()
    while len(content) < size:
        offset.value = len(content)
        wanted = min(len(buffer), size - len(content))
        result = channel.ioctl(code, ctypes.addressof(offset), 8, ctypes.addressof(buffer), wanted)
        if result.status & 0x80000000:
            raise NtStatusError(result.status, f"reading part {part} of the channel")
        if not result.information:
            break
        content += memoryview(buffer)[: min(result.information, wanted)]
    return bytes(content)


def _recorded(path: Path) -> list[tuple[int, bytes]]:
    """Instance and counters of each record of the file, in their order; raises `OSError` and `ValueError`."""
    found: list[tuple[int, bytes]] = []
    with path.open("rb") as file:
        while head := file.read(RECORD.size):
            if len(head) < RECORD.size:
                raise ValueError(f"{path} is cut off")
            magic, part, instance, size = RECORD.unpack(head)
            if magic != MAGIC or size > LARGEST:
                raise ValueError(f"{path} holds no record at {file.tell() - RECORD.size}")
            content = file.read(size)
            if len(content) != size or size % 8:
                raise ValueError(f"{path} is cut off")
            if part == COUNTERS:
                found.append((instance, content))
    return found


def _difference(found: list[tuple[int, bytes]], seen: dict[int, bytes]) -> bytes:
    """The sum of all that was counted, without what was seen of an instance before; empty if nothing was.

    Another image, with another number of counters, may have left records: the newest entry decides. A row of
    counters is added up as one number: none of its 8 bytes overflows into the next, and none borrows, since a
    counter never falls.
    """
    size = len(found[-1][1]) if found else 0
    total = 0
    for instance, content in found:
        if len(content) == size:
            before = seen.get(instance, b"")
            total += int.from_bytes(content, "little")
            total -= int.from_bytes(before, "little") if len(before) == size else 0
    if not 0 < total < 1 << (8 * size):  # a counter fell: something else wrote to the image
        return b""
    return total.to_bytes(size, "little")


def _packed(counted: bytes) -> str:
    return base64.b64encode(zlib.compress(counted, 1)).decode("ascii") if counted else ""

"""Finds a physical page in a full, bitmap or range dump. No structure here grows with the machine's memory.

Pages are 0x1000 bytes, numbered by page frame number (PFN); positions are offsets in the file.
"""

from __future__ import annotations

import bisect
import struct
from array import array
from collections.abc import Iterable
from itertools import accumulate
from typing import Protocol

from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import SIZE as HEADER
from harness.dumps.formats.kerneldump import KernelHeader

PAGE = 0x1000
MAX_BITMAP = 64 << 20
"""Largest bitmap in bytes: that of 2 TiB of memory."""
MAX_RANGES = 1 << 17
_CHUNK = 4096
_RANGE_TYPES = (8, 9, 10)
_COMPLETE = 10


class PhysicalMemory(Protocol):
    """The pages of a dump: `pages` is how many it claims, `end` the file offset where the last one ends."""

    pages: int
    end: int

    def offset(self, pfn: int) -> int | None:
        """Where the page lies in the file; None when the dump does not hold it."""


class Runs:
    """Pages of a full dump: the runs follow each other in the file, in the order of the list."""

    def __init__(self, runs: Iterable[tuple[int, int]], first: int) -> None:
        placed = []
        position = first
        for start, count in runs:
            placed.append((start, count, position))
            position += count * PAGE
        placed = [run for run in placed if max(run) < 1 << 63]
        placed.sort()
        self._starts = array("Q", (run[0] for run in placed))
        self._counts = array("Q", (run[1] for run in placed))
        self._offsets = array("Q", (run[2] for run in placed))
        self.pages = sum(self._counts)
        self.end = first + self.pages * PAGE

    def offset(self, pfn: int) -> int | None:
        """Where the page lies in the file; None when no run holds it."""
        index = bisect.bisect_right(self._starts, pfn) - 1
        if index < 0 or pfn - self._starts[index] >= self._counts[index]:
            return None
        return self._offsets[index] + (pfn - self._starts[index]) * PAGE


class Bitmap:
    """One bit a page; the k-th set bit's page is the k-th in the file."""

    def __init__(self, bits: memoryview, count: int, first: int) -> None:
        """`bits` has `count` bits, least significant first; `first` is the file offset of the first page."""
        self._bits = bits
        self._count = min(count, len(bits) * 8)
        self._first = first
        chunks = (bits[start : start + _CHUNK] for start in range(0, len(bits), _CHUNK))
        self._ranks = array("Q", accumulate((_ones(chunk) for chunk in chunks), initial=0))
        self.pages = self._ranks[-1]
        self.end = first + self.pages * PAGE

    def offset(self, pfn: int) -> int | None:
        """Where the page lies in the file; None when its bit is clear."""
        if not 0 <= pfn < self._count:
            return None
        byte, bit = divmod(pfn, 8)
        if not self._bits[byte] >> bit & 1:
            return None
        chunk = byte // _CHUNK
        before = _ones(self._bits[chunk * _CHUNK : byte])
        within = (self._bits[byte] & ((1 << bit) - 1)).bit_count()
        return self._first + (self._ranks[chunk] + before + within) * PAGE


def _ones(bits: memoryview) -> int:
    return int.from_bytes(bits, "little").bit_count()


def physical_memory(file: DumpFile, header: KernelHeader, warnings: list[str]) -> PhysicalMemory | None:
    """The pages of the dump, None if it has none. The magic after the header outranks the header's type."""
    magic = file.read(HEADER, 8)
    if magic in (b"SDMPDUMP", b"FDMPDUMP"):
        return _bitmap(file, warnings)
    if magic[4:] == b"RDMP" or (header.type_number in _RANGE_TYPES and magic[4:] != b""):
        return _ranges(file, header, warnings)
    if header.type_number == 1:
        return Runs(header.runs, HEADER)
    return None


def _bitmap(file: DumpFile, warnings: list[str]) -> Bitmap | None:
    head = file.read(HEADER + 0x20, 0x18)
    if len(head) < 0x18:
        warnings.append("The file ends within the bitmap's header.")
        return None
    first, present, count = struct.unpack("<QQQ", head)
    size = -(-count // 8)
    if size > MAX_BITMAP:
        warnings.append(f"The bitmap claims {count} pages, more than the reader's limit; memory is not read.")
        return None
    bits = file.read(HEADER + 0x38, size)
    if len(bits) < size:
        warnings.append(f"The file ends within the bitmap: {len(bits)} of {size} bytes.")
    bitmap = Bitmap(memoryview(bits), count, first)
    if bitmap.pages != present and len(bits) == size:
        warnings.append(f"The bitmap has {bitmap.pages} pages, its header says {present}.")
    return bitmap


def _ranges(file: DumpFile, header: KernelHeader, warnings: list[str]) -> Runs | None:
    head = file.read(HEADER, 0x30)
    if len(head) < 0x30 or head[4:12] != b"RDMPDUMP":
        warnings.append("There is no table of page ranges after the header.")
        return None
    metadata, first, number, total = struct.unpack_from("<QQQQ", head, 0x10)
    start = HEADER + 0x30
    if first != metadata + 0x2020:
        warnings.append("The table of page ranges holds two different sizes.")
    if header.type_number == _COMPLETE:
        wanted = number & 0xFFFFFFFF
    else:
        wanted, total = max(0, metadata - 0x10) // 16, 1 << 52
    if wanted > MAX_RANGES:
        warnings.append(f"The table of page ranges claims {wanted} of them; {MAX_RANGES} are read.")
    table = file.read(start, 16 * min(wanted, MAX_RANGES, max(0, first - start) // 16))
    runs = []
    for pfn, count in struct.iter_unpack("<QQ", table[: len(table) // 16 * 16]):
        if total <= 0 or (not pfn and header.type_number != _COMPLETE):
            break
        runs.append((pfn, min(count, total)))
        total -= count
    return Runs(runs, first)

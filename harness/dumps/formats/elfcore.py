"""QEMU's ELF dump of a machine's memory: where its physical pages lie, and the registers of each processor.

ELF: System V ABI. QEMU adds a note named `QEMU` for each processor: version and size (4 bytes each), then as
64-bit numbers rax, rbx, rcx, rdx, rsi, rdi, rsp, rbp, r8 to r15, rip and rflags; ten segments of 24 bytes
(selector, limit, flags and padding of 4 bytes each, base of 8): cs, ds, es, fs, gs, ss, ldt, tr, gdt, idt;
then cr0 to cr4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.physical import PAGE
from harness.errors import DumpError

_HEADERS, _HEADER = 4096, struct.Struct("<IIQQQQQQ")
_LOAD, _NOTE = 1, 4
_NOTES_BYTES = 16 << 20
_STATE = struct.Struct("<8x18Q240x5Q")
_SEGMENT = struct.Struct("<IIIIQ")
_SEGMENTS_AT = 8 + 18 * 8
_NAMES = ("rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp")
NAMES = (*_NAMES, *(f"r{number}" for number in range(8, 16)), "rip", "rflags")
_SELECTORS = ("cs", "ds", "es", "fs", "gs", "ss")


@dataclass(frozen=True)
class Processor:
    """One processor as it stood. registers: by name, rip, rflags and the six selectors too."""

    registers: dict[str, int]
    page_table: int
    interrupts: int
    """Base of the interrupt descriptor table."""


class ElfCore:
    """The pages of the dump; implements `PhysicalMemory`.

    Raises:
        DumpError: it is no ELF dump of an x64 machine, or holds no processor.
    """

    def __init__(self, file: DumpFile) -> None:
        head = file.read(0, 64)
        if len(head) < 64 or head[:6] != b"\x7fELF\x02\x01" or head[18:20] != b"\x3e\0":
            raise DumpError(f"{file.path} is no ELF dump of an x64 machine.")
        (at,), (size, count) = struct.unpack_from("<Q", head, 32), struct.unpack_from("<HH", head, 54)
        if size != _HEADER.size or count > _HEADERS:
            raise DumpError(f"{file.path} has {count} program headers of {size} bytes: not QEMU's.")
        table = file.read(at, size * count)
        headers = list(_HEADER.iter_unpack(table[: len(table) // size * size]))
        self.runs: tuple[tuple[int, int, int], ...] = tuple(
            sorted(
                (physical // PAGE, length // PAGE, offset)
                for kind, _, offset, _, physical, length, _, _ in headers
                if kind == _LOAD and length >= PAGE and physical % PAGE == 0
            )
        )
        """First page frame number, number of pages, and offset in the file."""
        self.processors = tuple(
            processor
            for kind, _, offset, _, _, length, _, _ in headers
            if kind == _NOTE
            for processor in _processors(file.read(offset, min(length, _NOTES_BYTES)))
        )
        if not self.runs or not self.processors:
            raise DumpError(f"{file.path} holds no memory, or no registers of a processor.")
        self.pages = sum(count for _, count, _ in self.runs)
        self.end = max(offset + count * PAGE for _, count, offset in self.runs)
        if self.end > file.size:
            raise DumpError(f"{file.path} has {file.size} bytes of {self.end}: it is truncated.")

    def offset(self, pfn: int) -> int | None:
        """Where the page lies in the file; None when no run holds it."""
        for first, count, offset in self.runs:
            if first <= pfn < first + count:
                return offset + (pfn - first) * PAGE
        return None


def _processors(notes: bytes) -> Iterator[Processor]:
    at = 0
    while at + 12 <= len(notes):
        name_size, size, _ = struct.unpack_from("<III", notes, at)
        name, at = notes[at + 12 : at + 12 + name_size], at + 12 + (name_size + 3 & ~3)
        state, at = notes[at : at + size], at + (size + 3 & ~3)
        if name.rstrip(b"\0") == b"QEMU" and len(state) >= _STATE.size:
            numbers = _STATE.unpack_from(state)
            registers = dict(zip(NAMES, numbers, strict=False))
            segments = [_SEGMENT.unpack_from(state, _SEGMENTS_AT + 24 * number) for number in range(10)]
            registers |= {name: segments[number][0] & 0xFFFF for number, name in enumerate(_SELECTORS)}
            yield Processor(registers, page_table=numbers[18 + 3], interrupts=segments[9][4])

"""Virtual memory of a kernel dump through the page tables in it, of four levels with 512 entries each.

x64: Intel SDM volume 3, 4-level paging. ARM64: Arm Architecture Reference Manual, tables of 4 KiB.
Both halves of an ARM64 address space are taken to share one root, as on x64: its upper half is the kernel's.
"""

from __future__ import annotations

import struct

from harness.dumps import cpu
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.physical import PAGE, PhysicalMemory

_ADDRESS = 0x000F_FFFF_FFFF_F000
_PRESENT, _LARGE, _PROTOTYPE, _TRANSITION = 1, 1 << 7, 1 << 10, 1 << 11
_ARM64_ADDRESS, _ARM64_TABLE = 0x0000_FFFF_FFFF_F000, 1 << 1
"""ARM64 sets the second bit in entries that lead to a table, and in those of single pages."""
_CANONICAL_HIGH = 0xFFFF_8000_0000_0000
_CANONICAL_LOW = 0x0000_8000_0000_0000
_CACHED_PAGES = 4096


class PagedMemory:
    """Reads virtual addresses; a read ends at the first page that is not in the dump.

    Args:
        root: physical address of the top table (CR3); its low 12 bits are ignored.
        machine: `cpu.X64` or `cpu.ARM64`.
    """

    def __init__(self, file: DumpFile, physical: PhysicalMemory, root: int, machine: int = cpu.X64) -> None:
        self._file = file
        self._physical = physical
        self._root = root & _ADDRESS
        self._arm64 = machine == cpu.ARM64
        self._cache: dict[int, int | None] = {}

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes from `address` on."""
        pieces = []
        while size > 0:
            position = self._position(address & ~(PAGE - 1))
            if position is None:
                break
            within = address & (PAGE - 1)
            wanted = min(size, PAGE - within)
            piece = self._file.read(position + within, wanted)
            pieces.append(piece)
            if len(piece) < wanted:
                break
            address += wanted
            size -= wanted
        return b"".join(pieces)

    def _position(self, page: int) -> int | None:
        """File offset of a virtual page."""
        if page not in self._cache:
            if len(self._cache) >= _CACHED_PAGES:
                self._cache.clear()
            physical = self.translate(page)
            self._cache[page] = None if physical is None else self._physical.offset(physical // PAGE)
        return self._cache[page]

    def translate(self, address: int) -> int | None:
        """The physical address; None if not canonical, not mapped, or a table is not in the dump."""
        if not (0 <= address < _CANONICAL_LOW or _CANONICAL_HIGH <= address < 1 << 64):
            return None
        table = self._root
        for shift in (39, 30, 21, 12):
            entry = self._entry(table, (address >> shift) & 0x1FF)
            if entry is None:
                return None
            if self._arm64:
                if not entry & _PRESENT:
                    return None  # how Windows marks pages in transition there is not documented
                is_block = not entry & _ARM64_TABLE
                if is_block and shift in (39, 12):
                    return None
                if is_block or shift == 12:
                    span = (1 << shift) - 1
                    return (entry & _ARM64_ADDRESS & ~span) | (address & span)
                table = entry & _ARM64_ADDRESS
                continue
            if not entry & _PRESENT:
                # A page in transition out of a working set is still in its physical page.
                in_transition = shift == 12 and entry & _TRANSITION and not entry & _PROTOTYPE
                if not in_transition:
                    return None
            if shift == 12 or (shift < 39 and entry & _LARGE):
                span = (1 << shift) - 1
                return (entry & _ADDRESS & ~span) | (address & span)
            table = entry & _ADDRESS
        return None

    def _entry(self, table: int, index: int) -> int | None:
        position = self._physical.offset(table // PAGE)
        if position is None:
            return None
        data = self._file.read(position + 8 * index, 8)
        return struct.unpack("<Q", data)[0] if len(data) == 8 else None

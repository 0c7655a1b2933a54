"""Virtual memory of a dump that holds pieces of it, without page tables."""

from __future__ import annotations

import bisect

from harness.dumps.dumpfile import DumpFile
from harness.dumps.record import record


@record
class Area:
    """`size` bytes of virtual memory from `address` on, at file offset `offset`."""

    address: int
    offset: int
    size: int


class SavedMemory:
    """The pieces of virtual memory in a triage dump or minidump."""

    def __init__(self, file: DumpFile, blocks: list[Area], others: list[Area]) -> None:
        self._file = file
        self._blocks = _disjoint(blocks)
        self._starts = [area.address for area in self._blocks]
        self._others = others

    def read(self, address: int, size: int) -> bytes:
        """Up to `size` bytes from `address` on, across adjacent pieces."""
        pieces = []
        while size > 0 and (area := self._find(address)):
            within = address - area.address
            piece = self._file.read(area.offset + within, min(size, area.size - within))
            if not piece:
                break
            pieces.append(piece)
            address += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _find(self, address: int) -> Area | None:
        index = bisect.bisect_right(self._starts, address) - 1
        near = self._blocks[index : index + 1] if index >= 0 else []
        # The other pieces are few and lie nearer to the file's start: a truncated file still has them.
        for area in (*self._others, *near):
            if area.address <= address < area.address + area.size:
                return area
        return None


def _disjoint(areas: list[Area]) -> list[Area]:
    """The areas by address, without overlap: bytes that an earlier one holds are cut off a later one."""
    found: list[Area] = []
    end = 0
    for area in sorted(areas, key=lambda one: (one.address, -one.size)):
        if (known := end - area.address) > 0:
            if known >= area.size:
                continue
            area = Area(end, area.offset + known, area.size - known)
        found.append(area)
        end = area.address + area.size
    return found

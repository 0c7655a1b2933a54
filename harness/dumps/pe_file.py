"""A PE file addressed by offset from the image base, as the loader lays it out (PE format specification).

This does not use pefile, which reads the whole file and its directories: a stack walk reads a few pages of a
file that may be hostile or gigabytes large, through the bounded reads of `DumpFile`.
"""

from __future__ import annotations

import struct

from harness.dumps.dumpfile import DumpFile
from harness.dumps.savedmemory import Area, SavedMemory

_HEADERS = 4096
_MAX_SECTIONS = 96


def image_memory(file: DumpFile) -> SavedMemory:
    """Header and sections of the file; only the header when it is damaged."""
    head = file.read(0, _HEADERS)
    areas = [Area(0, 0, len(head))]
    if len(head) >= 0x40:
        (at,) = struct.unpack_from("<I", head, 0x3C)
        if head[at : at + 4] == b"PE\0\0" and at + 24 <= len(head):
            count, optional = struct.unpack_from("<H12xH", head, at + 6)
            table = head[at + 24 + optional :][: 40 * min(count, _MAX_SECTIONS)]
            for start in range(0, len(table) - 39, 40):
                address, size, offset = struct.unpack_from("<III", table, start + 12)
                areas.append(Area(address, offset, size))
    return SavedMemory(file, areas, [])

"""Finds what an image exports by name (PE format specification, the export directory)."""

from __future__ import annotations

import struct

from harness.dumps.image import Image, UnreadableError

_DIRECTORY = 0
_HEAD = 0x28
_MAX_NAMES = 1 << 20


def exported(image: Image, name: str) -> int | None:
    """Offset of an exported function; None where there is none of that name, or the table is missing."""
    wanted = name.encode()
    try:
        at, _ = image.directory(_DIRECTORY)
        if not at:
            return None
        count, functions, names, ordinals = struct.unpack_from("<4I", image.exactly(at, _HEAD), 0x18)
        low, high = 0, min(count, _MAX_NAMES)
        while low < high:  # the names are sorted
            middle = (low + high) // 2
            (text_at,) = struct.unpack("<I", image.exactly(names + 4 * middle, 4))
            text = image.read(text_at, len(wanted) + 1).partition(b"\0")[0]
            if not text:
                return None
            if text == wanted:
                (ordinal,) = struct.unpack("<H", image.exactly(ordinals + 2 * middle, 2))
                (offset,) = struct.unpack("<I", image.exactly(functions + 4 * ordinal, 4))
                return int(offset)
            low, high = (middle + 1, high) if text < wanted else (low, middle)
    except UnreadableError:
        pass
    return None

"""The text that a bugcheck's parameter points to: a UNICODE_STRING, or characters up to a zero.

The documentation often calls such a parameter a name only, so that its form is found out from the memory.
"""

from __future__ import annotations

import struct

from harness.dumps.kernel.view import KernelView

MAX_TEXT = 512
"""Bytes."""
_SHORTEST = 3
_KERNEL = 1 << 63


def text_at(view: KernelView, address: int) -> str:
    """The text, or empty where none can be read."""
    head = view.memory.read(address, 16)
    if len(head) == 16:
        length, room, buffer = struct.unpack("<HH4xQ", head)
        if 0 < length <= room and not length % 2 and buffer >= _KERNEL:
            return _printable(view.unicode_string(address))
    data = view.memory.read(address, MAX_TEXT)
    wide = data[: len(data) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
    narrow = data.partition(b"\0")[0].decode("utf-8", "replace")
    return (_printable(wide) if wide.isascii() else "") or _printable(narrow)


def _printable(text: str) -> str:
    stripped = text.strip()
    return stripped if len(stripped) >= _SHORTEST and stripped.isprintable() and "�" not in text else ""

"""What scenarios may pass as data, and how it becomes memory that a driver can be pointed at."""

from __future__ import annotations

import ctypes
from typing import Any

Data = bytes | bytearray | memoryview | ctypes.Structure | ctypes.Array[Any]
"""Input of an operation; a generated contract structure can be passed as it is."""

Buffer = ctypes.Array[ctypes.c_char]


def input_buffer(data: Data) -> tuple[Buffer | None, int]:
    """Memory holding `data` and its length; no memory (a NULL pointer) for no data."""
    content = bytes(data)
    if not content:
        return None, 0
    return (ctypes.c_char * len(content)).from_buffer_copy(content), len(content)


def output_buffer(size: int) -> Buffer | None:
    """`size` zeroed bytes, or no memory (a NULL pointer) for 0."""
    return (ctypes.c_char * size)() if size else None

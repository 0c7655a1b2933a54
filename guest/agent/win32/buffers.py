"""Data that scenarios pass to a driver, and the buffers made from it."""

from __future__ import annotations

import ctypes
from typing import Any

from agent.win32 import constants

Data = bytes | bytearray | memoryview | ctypes.Structure | ctypes.Array[Any] | None
"""Input of an operation; a generated contract structure can be passed as it is, and None is no input."""

Buffer = ctypes.Array[ctypes.c_char]


def input_buffer(data: Data) -> tuple[Buffer | None, int]:
    """Memory holding `data` and its length; no memory (a NULL pointer) for no data.

    Raises:
        TypeError: `data` is a number or text; bytes() would make zeros of a number.
    """
    if isinstance(data, int | str):
        meant = "struct.pack or int.to_bytes" if isinstance(data, int) else ".encode()"
        raise TypeError(f"data for a driver must be bytes or a structure, not {data!r}: use {meant}")
    content = bytes(data or b"")
    if not content:
        return None, 0
    return (ctypes.c_char * len(content)).from_buffer_copy(content), len(content)


def output_buffer(size: int) -> Buffer | None:
    """`size` zeroed bytes, or no memory (a NULL pointer) for 0."""
    return (ctypes.c_char * size)() if size else None


def partial(error: int, buffer: Buffer | None, count: int) -> bytes:
    """The output of a failed operation: warnings such as STATUS_BUFFER_OVERFLOW come with data."""
    if error != constants.ERROR_MORE_DATA or buffer is None:
        return b""
    return ctypes.string_at(buffer, min(count, len(buffer)))


def require_taken(operation: str, count: int, length: int) -> None:
    """Raises `AssertionError` with both numbers if the driver reported more bytes than were written."""
    if count > length:
        raise AssertionError(f"{operation} reported {count} bytes of a write of {length}")


def require_room(operation: str, count: int, room: int) -> None:
    """Raises `AssertionError` with both numbers if the driver reported more bytes than the buffer has."""
    if count > room:
        raise AssertionError(f"{operation} reported {count} bytes in a buffer of {room}")

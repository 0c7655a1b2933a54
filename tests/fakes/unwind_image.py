"""An x64 image without code of its own, but with a test's unwind data, laid out as the loader does.

Layouts are those of the PE format specification and of Microsoft's x64 exception handling, by position.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

BASE = 0xFFFFF80050000000
SIZE = 0x10000
STACK = 0xFFFFF90000000000
_TABLE, _INFO = 0x8000, 0x9000


class UnwindImage:
    """An image of 64 KiB: code from 0x1000 on, function table at 0x8000; also the memory of one stack."""

    def __init__(self) -> None:
        self.data = bytearray(SIZE)
        self.stack = bytearray(0x4000)
        self._entries: list[tuple[int, int, int]] = []
        self._next = _INFO
        self.data[:2] = b"MZ"
        struct.pack_into("<I", self.data, 0x3C, 0x80)
        self.data[0x80:0x84] = b"PE\0\0"
        struct.pack_into("<HHI", self.data, 0x84, 0x8664, 1, 1)
        struct.pack_into("<H", self.data, 0x94, 0xF0)
        struct.pack_into("<H", self.data, 0x98, 0x20B)
        struct.pack_into("<8sIIII", self.data, 0x98 + 0xF0, b".text", 0x7000, 0x1000, 0x7000, 0x400)
        struct.pack_into("<I", self.data, 0x98 + 0xF0 + 36, 0x60000020)

    def code(self, offset: int, text: str) -> None:
        """Puts hex code at an offset."""
        raw = bytes.fromhex(text)
        self.data[offset : offset + len(raw)] = raw

    def info(
        self,
        slots: Sequence[int] = (),
        *,
        version: int = 1,
        flags: int = 0,
        prologue: int = 0,
        frame: int = 0,
        chained: tuple[int, int, int] | None = None,
    ) -> int:
        """Adds an UNWIND_INFO; returns its offset. `slots` are 16-bit words, see `slot`."""
        at = self._next
        raw = struct.pack("<BBBB", version | flags << 3, prologue, len(slots), frame)
        raw += struct.pack(f"<{len(slots)}H", *slots) + bytes(2 * (len(slots) & 1))
        raw += struct.pack("<III", *chained) if chained else b""
        self.data[at : at + len(raw)] = raw
        self._next += len(raw) + 3 & ~3
        return at

    def function(self, start: int, end: int, info: int) -> None:
        """Adds an entry to the function table, which is sorted by itself."""
        self._entries = sorted([*self._entries, (start, end, info)])
        for index, entry in enumerate(self._entries):
            struct.pack_into("<III", self.data, _TABLE + 12 * index, *entry)
        struct.pack_into("<II", self.data, 0x98 + 112 + 8 * 3, _TABLE, 12 * len(self._entries))

    def words(self, offset: int, *words: int) -> None:
        """Puts words on the stack."""
        struct.pack_into(f"<{len(words)}Q", self.stack, offset, *words)

    def call(self, offset: int) -> int:
        """Puts a call before an offset; returns the address there."""
        self.data[offset - 5 : offset] = b"\xe8\1\2\3\4"
        return BASE + offset

    def read(self, address: int, size: int) -> bytes:
        for start, data in ((BASE, self.data), (STACK, self.stack)):
            if start <= address < start + len(data):
                return bytes(data[address - start :][:size])
        return b""


def slot(end: int, operation: int, info: int = 0) -> int:
    """An unwind code: offset behind its instruction, operation, operation's own information."""
    return end | operation << 8 | info << 12


def recursion(depth: int) -> UnwindImage:
    """A stack of `depth` frames, from `BASE` + 0x1050 with the stack pointer at `STACK` on."""
    made = UnwindImage()
    made.stack = bytearray(0x40 * depth + 0x100)
    functions = range(0x1000, 0x1400, 0x100)
    for start in functions:
        made.function(start, start + 0x100, made.info([slot(5, 2, 4), slot(1, 0, 3)], prologue=5))
        made.call(start + 0x50)
    for number in range(1, depth):
        made.words(0x38 * number - 8, BASE + functions[number % 4] + 0x50)
    return made

"""The pool block that holds an address, by the headers in its page (x64: 16 bytes in front of each block).

Blocks of large pages and of the segment heap's other parts have no such header: then nothing is found.
"""

from __future__ import annotations

import struct

from harness.dumps.facts import DOCUMENTED, PoolBlock
from harness.dumps.kernel.view import KernelView

_PAGE = 0x1000
_UNIT = 16


def pool_block(view: KernelView, address: int) -> PoolBlock | None:
    """The block that holds an address of a page in the dump."""
    page = view.memory.read(address & -_PAGE, _PAGE)
    within = address % _PAGE
    if len(page) == _PAGE and (at := _walked(page, within)) is not None:
        return _block(page, at, address, walked=True)
    # A small dump holds a piece of the page; an object starts behind its block's header.
    head = view.memory.read(address - _UNIT, _UNIT) if not address % _UNIT and within else b""
    if len(head) == _UNIT and _fits(head, within - _UNIT):
        return _block(head, 0, address, walked=False, start=address)
    return None


def _walked(page: bytes, within: int) -> int | None:
    """Offset of the header whose block holds `within`; None unless headers follow each other to the end."""
    at, before, found = 0, 0, None
    while at < _PAGE:
        previous, _, units, kind = struct.unpack_from("<BBBB", page, at)
        if previous != before or not units or not _is_tag(page[at + 4 : at + 8]) or kind & 0xF0:
            return None
        if at + _UNIT <= within < at + _UNIT * units:
            found = at
        at, before = at + _UNIT * units, units
    return found if at == _PAGE else None


def _fits(head: bytes, at: int) -> bool:
    previous, _, units, _ = struct.unpack_from("<BBBB", head)
    return bool(units) and at + _UNIT * units <= _PAGE and _UNIT * previous <= at and _is_tag(head[4:8])


def _is_tag(raw: bytes) -> bool:
    """Whether 4 bytes can be a tag: printable, whose highest bit marks a protected block."""
    return all(0x20 <= byte < 0x7F for byte in (*raw[:3], raw[3] & 0x7F))


def _block(data: bytes, at: int, address: int, *, walked: bool, start: int | None = None) -> PoolBlock:
    _, _, units, kind = struct.unpack_from("<BBBB", data, at)
    raw = data[at + 4 : at + 7] + bytes([data[at + 7] & 0x7F])
    begin = (address & -_PAGE) + at + _UNIT if start is None else start
    return PoolBlock(
        address, begin, units * _UNIT - _UNIT, raw.decode("ascii"), kind != 0, walked, DOCUMENTED
    )

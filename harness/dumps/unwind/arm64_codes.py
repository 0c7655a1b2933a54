"""Unwind data of ARM64, packed and full, as one list of operations (Microsoft: ARM64 exception handling)."""

from __future__ import annotations

import enum
import struct

from harness.dumps.image import Image, UnreadableError
from harness.dumps.record import record

_MAX_EPILOGUES = 1 << 12
FP, LR = 29, 30


class Op(enum.Enum):
    """Operations as unwinding undoes them; each stands for one instruction, but `CUSTOM` for none."""

    ALLOCATE = enum.auto()  # add `size` to SP
    LOAD = enum.auto()  # registers from SP + `offset`, then add `size`
    SET_FP = enum.auto()  # SP = FP - `size`
    NOTHING = enum.auto()
    SIGNED = enum.auto()  # the return address was signed
    TRAP_FRAME = enum.auto()  # a KTRAP_FRAME lies at SP
    MACHINE_FRAME = enum.auto()  # SP and PC lie at SP
    CONTEXT = enum.auto()  # a CONTEXT lies at SP
    INTERRUPTED = enum.auto()  # LR holds no return address, but where the caller was interrupted
    UNKNOWN = enum.auto()  # of a kind that is not documented, or moves SP by a vector's length


CUSTOM = frozenset({Op.TRAP_FRAME, Op.MACHINE_FRAME, Op.CONTEXT, Op.INTERRUPTED})
"""Operations of handwritten code, such as the kernel's exception vectors."""


@record
class Code:
    """An operation. `registers` are loaded from `offset` on, 8 bytes each; -1 skips one."""

    op: Op
    size: int = 0
    offset: int = 0
    registers: tuple[int, ...] = ()


_NOTHING = Code(Op.NOTHING)


@record
class Function:
    """A function's unwind data. `prologue` is in the order of unwinding.

    own: instructions of its prologue that it executes itself; a fragment's were executed elsewhere.
    epilogues: offset of the epilogue from the function's start, its instructions without the return, and
        operations in the order of execution.
    """

    start: int
    length: int
    prologue: tuple[Code, ...]
    own: int
    epilogues: tuple[tuple[int, int, tuple[Code, ...]], ...]


def function_at(image: Image, offset: int) -> Function | None:
    """The function that holds the instruction at `offset`; None for a leaf function.

    Raises:
        UnreadableError: its unwind data is missing or malformed.
    """
    entry = image.function(offset, 2)
    if entry is None:
        return None
    start, data = entry
    known = image.cache.get(start)
    if not isinstance(known, Function):
        known = _full(image, start, data) if data & 3 == 0 else _packed(start, data)
        image.cache[start] = known
    return known if offset < start + known.length else None


def _packed(start: int, data: int) -> Function:
    kind = data & 3
    if kind == 3:
        raise UnreadableError("packed unwind data of a reserved kind")
    length, floats, integers = (data >> 2 & 0x7FF) * 4, data >> 13 & 7, data >> 16 & 0xF
    homed, chain, frame = data >> 20 & 1, data >> 21 & 3, (data >> 23) * 16
    saved = integers * 8 + (8 if chain == 1 else 0) + (floats * 8 + 8 if floats else 0)
    saved += 64 * homed if saved else 0  # without a saved register the arguments' homes are local
    saved = (saved + 15) & ~15
    local = frame - saved
    if local < 0 or integers > 10:
        raise UnreadableError("packed unwind data that contradicts itself")
    execution: list[Code] = [Code(Op.SIGNED)] if chain == 2 else []
    execution += _saves(integers, floats, homed, chain, saved)
    if chain in (2, 3):
        if 0 < local <= 512:
            execution += [Code(Op.LOAD, local, 0, (FP, LR)), Code(Op.SET_FP)]
        else:
            execution += [*_allocations(local), Code(Op.LOAD, 0, 0, (FP, LR)), Code(Op.SET_FP)]
    else:
        execution += _allocations(local)
    unwinding = tuple(reversed(execution))
    if kind == 2:  # a fragment without prologue, of which every part was executed elsewhere
        return Function(start, length, unwinding, 0, ())
    # An epilogue mirrors the prologue, without what it need not undo, and returns.
    leaving = tuple(code for code in unwinding if code.op is not Op.SET_FP and code is not _NOTHING)
    epilogue = length - 4 * (len(leaving) + 1), len(leaving), leaving
    return Function(start, length, unwinding, len(unwinding), (epilogue,))


def _saves(integers: int, floats: int, homed: int, chain: int, saved: int) -> list[Code]:
    """Stores of non-volatile registers; the first one that is done makes the room for all."""
    groups: list[tuple[int, ...]] = [
        tuple(range(19 + first, 19 + min(first + 2, integers))) for first in range(0, integers, 2)
    ]
    if chain == 1:
        if groups and len(groups[-1]) == 1:
            groups[-1] = (groups[-1][0], LR)
        else:
            groups.append((LR,))
    count = floats + 1 if floats else 0
    groups += [(-1,) * min(2, count - first) for first in range(0, count, 2)]
    found: list[Code] = []
    if integers == 1 and chain == 1:  # no store of a pair with LR makes room
        found.append(Code(Op.ALLOCATE, saved))
    offset = 0
    for group in groups:
        found.append(Code(Op.LOAD, 0 if found else saved, offset, group))
        offset += 8 * len(group)
    return found + [_NOTHING] * 4 if homed and found else found


def _allocations(size: int) -> list[Code]:
    if size <= 0:
        return []
    if size <= 4080:
        return [Code(Op.ALLOCATE, size)]
    return [Code(Op.ALLOCATE, 4080), Code(Op.ALLOCATE, size - 4080)]


def _full(image: Image, start: int, offset: int) -> Function:
    (head,) = struct.unpack("<I", image.exactly(offset, 4))
    length, version = (head & 0x3FFFF) * 4, head >> 18 & 3
    if version:
        raise UnreadableError(f"unwind data of version {version}")
    single, count, words = head >> 21 & 1, head >> 22 & 0x1F, head >> 27
    offset += 4
    if not count and not words:
        (more,) = struct.unpack("<I", image.exactly(offset, 4))
        count, words = more & 0xFFFF, more >> 16 & 0xFF
        offset += 4
    scopes: tuple[int, ...] = ()
    if not single:
        if count > _MAX_EPILOGUES:
            raise UnreadableError(f"{count} epilogues")
        scopes = struct.unpack(f"<{count}I", image.exactly(offset, 4 * count))
        offset += 4 * count
    data = image.exactly(offset, 4 * words)
    if single:
        own, leaving = _decoded(data, count)
        epilogues = [(length - 4 * (own + 1), own, leaving)]
    else:
        epilogues = [((scope & 0x3FFFF) * 4, *_decoded(data, scope >> 22)) for scope in scopes]
    own, prologue = _decoded(data, 0)
    return Function(start, length, prologue, own, tuple(epilogues))


def _decoded(data: bytes, at: int) -> tuple[int, tuple[Code, ...]]:
    """Operations from byte `at` on to their end mark, or to the end of the data.

    The first number is that of the instructions: of a prologue that continues in another function's, only
    its own part's.
    """
    found: list[Code] = []
    own = -1
    following = 0  # save_next operations before the one they continue
    while at < len(data):
        first = data[at]
        if first == 0xE4:
            break
        size = _size(first)
        code = int.from_bytes(data[at : at + size], "big")
        at += size
        if first == 0xE5:  # the end of a prologue that continues in another function's
            own = _instructions(found) if own < 0 else own
            continue
        if first == 0xE6:
            following += 1
            continue
        store = _operation(first, code)
        for number in range(following, 0, -1):  # pairs behind the one that this operation stores
            registers = tuple(register + 2 * number for register in store.registers)
            usable = store.op is Op.LOAD and max(registers) < FP
            found.append(Code(Op.LOAD, 0, store.offset + 16 * number, registers) if usable else _NOTHING)
        following = 0
        found.append(store)
    return _instructions(found) if own < 0 else own, tuple(found)


def _instructions(codes: list[Code]) -> int:
    return sum(code.op not in CUSTOM for code in codes)


def _size(first: int) -> int:
    if first < 0xC0:
        return 1
    if first < 0xE0:
        return 2
    return {0xE0: 4, 0xE2: 2, 0xE7: 3, 0xF8: 2, 0xF9: 3, 0xFA: 4, 0xFB: 5}.get(first, 1)


def _operation(first: int, code: int) -> Code:
    low = (code & 0x3F) * 8
    short = (code & 0x1F) * 8
    if first < 0x20:
        return Code(Op.ALLOCATE, (first & 0x1F) * 16)
    if first < 0x40:
        return Code(Op.LOAD, (first & 0x1F) * 8, 0, (19, 20))
    if first < 0x80:
        return Code(Op.LOAD, 0, (first & 0x3F) * 8, (FP, LR))
    if first < 0xC0:
        return Code(Op.LOAD, (first & 0x3F) * 8 + 8, 0, (FP, LR))
    if first < 0xC8:
        return Code(Op.ALLOCATE, (code & 0x7FF) * 16)
    register = code >> 6 & 0xF
    pair = (19 + register, 20 + register)
    table: tuple[tuple[int, Code], ...] = (
        (0xCC, Code(Op.LOAD, 0, low, pair)),
        (0xD0, Code(Op.LOAD, low + 8, 0, pair)),
        (0xD4, Code(Op.LOAD, 0, low, (19 + register,))),
        (0xD6, Code(Op.LOAD, short + 8, 0, (19 + (code >> 5 & 0xF),))),
        (0xD8, Code(Op.LOAD, 0, low, (19 + 2 * (code >> 6 & 7), LR))),
        (0xDA, _NOTHING),  # save_fregp
        (0xDC, Code(Op.ALLOCATE, low + 8)),  # save_fregp_x
        (0xDE, _NOTHING),  # save_freg
        (0xDF, Code(Op.ALLOCATE, short + 8)),  # save_freg_x
        (0xE0, Code(Op.UNKNOWN)),  # alloc_z, of a vector length that is not known here
        (0xE1, Code(Op.ALLOCATE, (code & 0xFFFFFF) * 16)),
        (0xE2, Code(Op.SET_FP)),
        (0xE3, Code(Op.SET_FP, (code & 0xFF) * 8)),
        (0xE4, _NOTHING),  # nop
    )
    for limit, found in table:
        if first < limit:
            return found
    if first >= 0xF8:  # reserved, as instructions that unwinding need not undo
        return Code(Op.SIGNED) if first == 0xFC else _NOTHING
    return {0xE7: _any_register(code), 0xE8: Code(Op.TRAP_FRAME), 0xE9: Code(Op.MACHINE_FRAME),
            0xEA: Code(Op.CONTEXT), 0xEC: Code(Op.INTERRUPTED)}.get(first, Code(Op.UNKNOWN))  # fmt: skip


def _any_register(code: int) -> Code:
    """save_any_reg: bit 14 a pair, bit 13 pre-indexed, bits 8 to 12 the register, bits 6 and 7 its kind."""
    pair, indexed, register = code >> 14 & 1, code >> 13 & 1, code >> 8 & 0x1F
    kind, value = code >> 6 & 3, code & 0x3F
    if kind == 3:  # a vector or predicate of SVE, stored without moving SP
        return _NOTHING
    step = 16 if pair or indexed or kind == 2 else 8
    registers: tuple[int, ...] = (register, register + 1) if pair else (register,)
    if kind or max(registers) > LR:
        registers = (-1,) * len(registers)
    if indexed:
        return Code(Op.LOAD, value * step + 16, 0, registers)
    return Code(Op.LOAD, 0, value * step, registers)

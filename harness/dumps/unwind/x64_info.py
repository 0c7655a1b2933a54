"""UNWIND_INFO of x64: a function's prologue as data (Microsoft: x64 exception handling, versions 1 and 2)."""

from __future__ import annotations

import enum
import struct

from harness.dumps.image import Image, UnreadableError
from harness.dumps.record import record

_CHAINED = 4
_INDIRECT = 1


class Op(enum.IntEnum):
    """Operations of a prologue, last one first in the data."""

    PUSH_NONVOL = 0
    ALLOC_LARGE = 1
    ALLOC_SMALL = 2
    SET_FPREG = 3
    SAVE_NONVOL = 4
    SAVE_NONVOL_FAR = 5
    EPILOG = 6  # version 2; in version 1 a store of 8 bytes of an XMM register
    SPARE = 7  # in version 1 the same, far
    SAVE_XMM128 = 8
    SAVE_XMM128_FAR = 9
    PUSH_MACHFRAME = 10


_MORE_SLOTS = {
    **{Op.ALLOC_LARGE: 1, Op.SAVE_NONVOL: 1, Op.SAVE_NONVOL_FAR: 2, Op.SPARE: 2},
    **{Op.SAVE_XMM128: 1, Op.SAVE_XMM128_FAR: 2},
}


@record
class Code:
    """An operation: `end` is the offset behind its instruction, `value` a register, flag, or bytes.

    `value` is the register of a push, the size of an allocation, 1 for a machine frame with an error code;
    `offset` is where in the frame a register is stored.
    """

    end: int
    op: Op
    value: int
    offset: int = 0


@record
class UnwindInfo:
    """A parsed UNWIND_INFO. `epilogues` are (distance from the function's end, bytes), version 2 only."""

    version: int
    prologue: int
    frame_register: int
    frame_offset: int
    codes: tuple[Code, ...]
    epilogues: tuple[tuple[int, int], ...]
    chained: tuple[int, int, int] | None


def entry_at(image: Image, offset: int) -> tuple[int, int, int]:
    """A RUNTIME_FUNCTION: start, end, unwind information; one that only refers to another is followed once.

    Raises:
        UnreadableError: it is missing.
    """
    start, end, unwind = struct.unpack("<III", image.exactly(offset, 12))
    return start, end, unwind


def function_at(image: Image, offset: int) -> tuple[int, int, int] | None:
    """The RUNTIME_FUNCTION that holds the instruction at `offset`; None for a leaf function.

    Raises:
        UnreadableError: the function table is missing.
    """
    found = image.function(offset, 3)
    if found is None or offset >= found[1]:
        return None
    start, end, unwind = found
    if unwind & _INDIRECT:
        _, _, unwind = entry_at(image, unwind & ~_INDIRECT)
    return start, end, unwind


def unwind_info(image: Image, offset: int) -> UnwindInfo:
    """The UNWIND_INFO at `offset`, parsed once an image.

    Raises:
        UnreadableError: it is missing, of an unknown version, or cut within an operation.
    """
    known = image.cache.get(offset)
    if not isinstance(known, UnwindInfo):
        known = _parse(image, offset)
        image.cache[offset] = known
    return known


def _parse(image: Image, offset: int) -> UnwindInfo:
    head, prologue, count, frame = image.exactly(offset, 4)
    version, flags = head & 7, head >> 3
    if version not in (1, 2):
        raise UnreadableError(f"unwind information of version {version}")
    slots = struct.unpack(f"<{count}H", image.exactly(offset + 4, 2 * count))
    codes, epilogues = _codes(slots, version)
    chained = None
    if flags & _CHAINED:
        chained = entry_at(image, offset + 4 + 2 * (count + (count & 1)))
    return UnwindInfo(version, prologue, frame & 0xF, (frame >> 4) * 16, codes, epilogues, chained)


def _codes(slots: tuple[int, ...], version: int) -> tuple[tuple[Code, ...], tuple[tuple[int, int], ...]]:
    codes: list[Code] = []
    epilogues: list[tuple[int, int]] = []
    size: int | None = None  # of every epilogue: the first of their codes says it
    index = 0
    while index < len(slots):
        end, number, info = slots[index] & 0xFF, slots[index] >> 8 & 0xF, slots[index] >> 12
        if number > max(Op):
            raise UnreadableError(f"unwind operation {number}")
        op = Op(number)
        more = _MORE_SLOTS.get(op, 0) + (op is Op.ALLOC_LARGE and info != 0)
        if op is Op.EPILOG and version == 1:
            more = 1
        operands = slots[index + 1 : index + 1 + more]
        if len(operands) < more:
            raise UnreadableError("an unwind operation without its operand")
        index += 1 + more
        operand = operands[0] if more == 1 else operands[0] | operands[1] << 16 if more == 2 else 0
        if op is Op.EPILOG and version == 2:
            if size is None:
                size = end
                if info & 1:
                    epilogues.append((end, size))
            elif distance := end | info << 8:
                epilogues.append((distance, size))
        elif op is Op.ALLOC_SMALL:
            codes.append(Code(end, op, 8 * info + 8))
        elif op is Op.ALLOC_LARGE:
            codes.append(Code(end, op, operand if info else 8 * operand))
        elif op in (Op.SAVE_NONVOL, Op.SAVE_NONVOL_FAR):
            codes.append(Code(end, op, info, operand * 8 if op is Op.SAVE_NONVOL else operand))
        elif op in (Op.PUSH_NONVOL, Op.SET_FPREG, Op.PUSH_MACHFRAME):
            codes.append(Code(end, op, info))
    return tuple(codes), tuple(epilogues)

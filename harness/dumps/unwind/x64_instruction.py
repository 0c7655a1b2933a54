"""An x64 instruction as far as following a function to its return needs it (Intel SDM volume 2).

Its length, where it goes on, what it does to the stack pointer, and which registers it overwrites.
"""

from __future__ import annotations

import enum
import struct

from harness.dumps.unwind.state import RBP, RSP

LONGEST = 15
_RSI, _RDI, _RBX, _R11 = 6, 7, 3, 11
_PREFIXES = frozenset(b"\x66\xf2\xf3\xf0\x2e\x36\x3e\x26\x64\x65\x67")
_MODRM = frozenset(
    {
        *(base + low for base in range(0, 0x40, 8) for low in range(4)),
        *(0x63, 0x69, 0x6B, 0x80, 0x81, 0x83, *range(0x84, 0x90), 0xC0, 0xC1, 0xC6, 0xC7),
        *(*range(0xD0, 0xD4), *range(0xD8, 0xE0), 0xF6, 0xF7, 0xFE, 0xFF),
    }
)
_IMMEDIATE8 = frozenset(
    {
        *(base + 4 for base in range(0, 0x40, 8)),
        *(0x6A, 0x6B, 0x80, 0x83, 0xA8, *range(0xB0, 0xB8), 0xC0, 0xC1, 0xC6, 0xCD, *range(0xE4, 0xE8)),
    }
)
_IMMEDIATE32 = frozenset({*(base + 5 for base in range(0, 0x40, 8)), 0x68, 0x69, 0x81, 0xA9, 0xC7})
_INVALID = frozenset(
    {
        *(base + low for base in range(0, 0x40, 8) for low in (6, 7)),
        *(0x60, 0x61, 0x62, 0x82, 0x9A, 0xC8, 0xCE, 0xD4, 0xD5, 0xD6, 0xEA),
    }
)
_KEEPS_BOTH = frozenset({*range(0x38, 0x3C), 0x84, 0x85, *range(0xD8, 0xE0)})  # compare, test, x87
_KEEPS_REG = frozenset({*(base + low for base in range(0, 0x40, 8) for low in (0, 1)), 0x88, 0x89, 0x8C, 0x8E,
                        0x80, 0x81, 0x83, 0x8F, 0xC0, 0xC1, 0xC6, 0xC7, *range(0xD0, 0xD4), 0xF6, 0xF7, 0xFE,
                        0xFF})  # fmt: skip
_STOPS = frozenset({0xCC, 0xCD, 0xCF, 0xF4})
_NO_MODRM_0F = frozenset(
    {5, 6, 7, 8, 9, 0xB, *range(0x30, 0x38), 0x77, *range(0x80, 0x90), 0xA0, 0xA1, 0xA2, 0xA8, 0xA9, 0xAA,
     *range(0xC8, 0xD0)}
)  # fmt: skip
_IMMEDIATE_0F = frozenset({*range(0x70, 0x74), 0xA4, 0xAC, 0xBA, 0xC2, *range(0xC4, 0xC7)})
_WRITES_REG_0F = frozenset(
    {*range(0x40, 0x50), 0x50, 0x2C, 0x2D, 0xAF, 0xB6, 0xB7, 0xB8, 0xBC, 0xBD, 0xBE, 0xBF, 0xC0, 0xC1, 0xC5,
     0xD7}
)  # fmt: skip
_WRITES_RM_0F = frozenset(
    {*range(0x90, 0xA0), 0x7E, 0xA4, 0xA5, 0xAB, 0xAC, 0xAD, 0xB0, 0xB1, 0xB3, 0xBA, 0xBB, 0xC0, 0xC1}
)  # fmt: skip


class Flow(enum.Enum):
    """Where execution continues."""

    NEXT = enum.auto()
    JUMP = enum.auto()
    BRANCH = enum.auto()
    RETURN = enum.auto()
    CALL = enum.auto()  # behind it, if the call comes back
    ANYWHERE = enum.auto()  # a jump through a register or memory
    STOP = enum.auto()  # nowhere that is known: a trap


class Instruction:
    """An instruction's effect.

    target: of a jump or branch, from the next instruction on.
    source: base register and displacement, whose sum, or the word there if `loads`, goes to `destination`.
    moves: bytes that are added to the stack pointer then.
    pushes: the register that is pushed, None for none.
    leaves: LEAVE: the stack pointer is that of behind the word at RBP, which RBP takes.
    spoiled: registers that hold something unknown afterwards.
    touches: base register, RSP or RBP, and displacement of an operand in memory.
    stores: the register whose 64 bits go there; None for none.
    """

    __slots__ = (
        *(
            "destination",
            "flow",
            "leaves",
            "length",
            "loads",
            "pushes",
            "moves",
            "source",
            "spoiled",
            "stores",
            "target",
            "touches",
        ),
    )

    def __init__(
        self,
        length: int,
        flow: Flow = Flow.NEXT,
        target: int = 0,
        *,
        source: tuple[int, int] | None = None,
        loads: bool = False,
        destination: int = 0,
        moves: int = 0,
        spoiled: tuple[int, ...] = (),
        pushes: int | None = None,
        leaves: bool = False,
        stores: int | None = None,
    ) -> None:
        self.length = length
        self.flow = flow
        self.target = target
        self.source = source
        self.loads = loads
        self.destination = destination
        self.moves = moves
        self.spoiled = spoiled
        self.pushes = pushes
        self.leaves = leaves
        self.touches: tuple[int, int] | None = None
        self.stores = stores


class _Operands:
    """A ModRM byte with what follows it: numbers of both registers, `mode` 3 when the second is one, too.

    simple: it is memory at a base register and a displacement.
    """

    __slots__ = ("displacement", "end", "mode", "reg", "rm", "simple")

    def __init__(self, mode: int, reg: int, rm: int, displacement: int, simple: bool, end: int) -> None:
        self.mode = mode
        self.reg = reg
        self.rm = rm
        self.displacement = displacement
        self.simple = simple
        self.end = end


def decoded(code: bytes) -> Instruction | None:
    """The instruction that `code` starts with; None when it is cut, unknown, or zeros: no code."""
    if code.startswith(b"\0\0"):
        return None
    try:
        return _decoded(code)
    except (IndexError, struct.error):
        return None


def _decoded(code: bytes) -> Instruction | None:
    at = 0
    wide16 = False
    while code[at] in _PREFIXES:
        wide16 |= code[at] == 0x66
        at += 1
    rex = 0
    if code[at] & 0xF0 == 0x40:
        rex = code[at]
        at += 1
    opcode = code[at]
    at += 1
    if opcode in (0xC4, 0xC5):
        return _vex(code, at, opcode)
    if opcode == 0x0F:
        return _two_bytes(code, at, rex)
    if opcode in _INVALID:
        return None
    operands = _operands(code, at, rex) if opcode in _MODRM else None
    if operands:
        at = operands.end
    immediate, at = _immediate(code, at, opcode, operands, wide16, rex)
    if at > len(code):
        return None
    return _touching(_one_byte(opcode, rex, operands, immediate, at), operands)


def _touching(instruction: Instruction | None, operands: _Operands | None) -> Instruction | None:
    if instruction and operands and operands.simple and operands.rm in (RSP, RBP):
        instruction.touches = operands.rm, operands.displacement
    return instruction


def _immediate(
    code: bytes, at: int, opcode: int, operands: _Operands | None, wide16: bool, rex: int
) -> tuple[int, int]:
    size = 0
    if opcode in _IMMEDIATE8 or 0x70 <= opcode <= 0x7F or 0xE0 <= opcode <= 0xE3 or opcode == 0xEB:
        size = 1
    elif opcode in _IMMEDIATE32:
        size = 2 if wide16 else 4
    elif opcode in (0xE8, 0xE9):
        size = 4
    elif 0xB8 <= opcode <= 0xBF:
        size = 8 if rex & 8 else 2 if wide16 else 4
    elif 0xA0 <= opcode <= 0xA3:
        size = 8
    elif opcode in (0xC2, 0xCA):
        size = 2
    elif opcode in (0xF6, 0xF7) and operands and operands.reg & 7 < 2:
        size = 1 if opcode == 0xF6 else 2 if wide16 else 4
    return int.from_bytes(code[at : at + size], "little", signed=True), at + size


def _operands(code: bytes, at: int, rex: int) -> _Operands:
    byte = code[at]
    mode, reg, rm = byte >> 6, byte >> 3 & 7 | (rex & 4) << 1, byte & 7
    at += 1
    base = rm | (rex & 1) << 3
    simple = mode != 3
    if mode != 3 and rm == 4:
        sib = code[at]
        at += 1
        base = sib & 7 | (rex & 1) << 3
        simple = sib >> 3 & 7 | (rex & 2) << 2 == 4
        rm = sib & 7
    size = {1: 1, 2: 4}.get(mode, 0)
    if mode == 0 and rm == 5:
        size, simple = 4, False
    displacement = int.from_bytes(code[at : at + size], "little", signed=True)
    if at + size > len(code):
        raise IndexError
    return _Operands(mode, reg, base, displacement, simple, at + size)


def _one_byte(
    opcode: int, rex: int, operands: _Operands | None, immediate: int, length: int
) -> Instruction | None:
    low = opcode & 7 | (rex & 1) << 3
    if opcode in (0xC3, 0xC2):
        return Instruction(length, Flow.RETURN)
    if opcode in (0xEB, 0xE9):
        return Instruction(length, Flow.JUMP, immediate)
    if 0x70 <= opcode <= 0x7F or 0xE0 <= opcode <= 0xE3:
        return Instruction(length, Flow.BRANCH, immediate)
    if opcode in _STOPS:
        return Instruction(length, Flow.STOP)
    if opcode == 0xE8:
        return Instruction(length, Flow.CALL, spoiled=_VOLATILE)
    if 0x50 <= opcode <= 0x57:
        return Instruction(length, moves=-8, pushes=low)
    if opcode in (0x68, 0x6A, 0x9C):
        return Instruction(length, moves=-8)
    if 0x58 <= opcode <= 0x5F:
        return Instruction(length, source=(RSP, 0), loads=True, destination=low, moves=8)
    if opcode == 0xC9:
        return Instruction(length, source=(RBP, 0), loads=True, destination=RBP, leaves=True)
    if opcode == 0x9D:
        return Instruction(length, moves=8)
    if 0x90 <= opcode <= 0x97:
        return Instruction(length, spoiled=(0, low) if low else ())
    if 0xB0 <= opcode <= 0xBF:
        return Instruction(length, spoiled=(low,))
    if 0xA4 <= opcode <= 0xA7 or 0xAA <= opcode <= 0xAF or 0x6C <= opcode <= 0x6F:
        return Instruction(length, spoiled=(_RSI, _RDI))
    if operands is None:
        return Instruction(length)
    return _with_operands(opcode, rex, operands, immediate, length)


def _with_operands(
    opcode: int, rex: int, operands: _Operands, immediate: int, length: int
) -> Instruction | None:
    direct, extension = operands.mode == 3, operands.reg & 7
    if opcode == 0xFF:
        if extension in (4, 5):
            return Instruction(length, Flow.ANYWHERE)
        if extension in (2, 3):
            return Instruction(length, Flow.CALL, spoiled=_VOLATILE)
        if extension == 6:
            return Instruction(length, moves=-8)
    if opcode in (0x81, 0x83) and direct and operands.rm == RSP and rex & 8:
        if extension == 0:
            return Instruction(length, moves=immediate)
        if extension == 5:
            return Instruction(length, moves=-immediate)
    if opcode in (0x8B, 0x8D) and rex & 8 and (operands.simple or direct):
        source = (operands.rm, 0 if direct else operands.displacement)
        return Instruction(
            length, source=source, loads=opcode == 0x8B and not direct, destination=operands.reg
        )
    if opcode == 0x89 and rex & 8:
        if direct:
            return Instruction(length, source=(operands.reg, 0), destination=operands.rm)
        return Instruction(length, stores=operands.reg)
    if opcode in _KEEPS_BOTH or (opcode in (0x80, 0x81, 0x83) and extension == 7):
        return Instruction(length)
    spoiled = () if opcode in _KEEPS_REG else (operands.reg,)
    return Instruction(length, spoiled=(*spoiled, operands.rm) if direct else spoiled)


def _two_bytes(code: bytes, at: int, rex: int) -> Instruction | None:
    opcode = code[at]
    at += 1
    if opcode in (0x38, 0x3A):
        operands = _operands(code, at + 1, rex)
        length = operands.end + (opcode == 0x3A)
        return Instruction(length, spoiled=_any(operands)) if length <= len(code) else None
    if opcode in _NO_MODRM_0F:
        if 0x80 <= opcode <= 0x8F:
            (target,) = struct.unpack_from("<i", code, at)
            return Instruction(at + 4, Flow.BRANCH, target)
        if opcode in (0x05, 0x07, 0x0B, 0x34, 0x35):
            return Instruction(at, Flow.STOP)
        return Instruction(at, spoiled=(_RBX,) if opcode == 0xA2 else ())
    operands = _operands(code, at, rex)
    length = operands.end + (opcode in _IMMEDIATE_0F)
    if length > len(code):
        return None
    spoiled = (operands.reg,) if opcode in _WRITES_REG_0F else ()
    if opcode in _WRITES_RM_0F and operands.mode == 3:
        spoiled = (*spoiled, operands.rm)
    return _touching(Instruction(length, spoiled=spoiled), operands)


def _vex(code: bytes, at: int, first: int) -> Instruction | None:
    """AVX and BMI instructions: only their length counts, and that they may write general registers."""
    head = code[at]
    rex = (~head >> 7 & 1) << 2
    table = 1
    at += 1
    if first == 0xC4:
        rex |= (~head >> 6 & 1) << 1 | (~head >> 5 & 1)
        table = head & 0x1F
        at += 1
    opcode = code[at]
    at += 1
    if table not in (1, 2, 3):
        return None
    if table == 1 and opcode == 0x77:
        return Instruction(at)
    operands = _operands(code, at, rex)
    length = operands.end + (table == 3 or (table == 1 and opcode in _IMMEDIATE_0F))
    general = (table == 2 and 0xF0 <= opcode <= 0xF7) or (table == 3 and opcode == 0xF0)
    return Instruction(length, spoiled=_any(operands) if general else ()) if length <= len(code) else None


def _any(operands: _Operands) -> tuple[int, ...]:
    """General registers that it may write; the stack pointer is never one."""
    found = (operands.reg, operands.rm) if operands.mode == 3 else (operands.reg,)
    return tuple(number for number in found if number != RSP)


_VOLATILE = (0, 1, 2, 8, 9, 10, _R11)

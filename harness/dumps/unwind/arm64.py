"""One step up an ARM64 stack by its unwind data: the registers of a frame in, those of its caller out."""

from __future__ import annotations

import struct

from harness.dumps import cpu
from harness.dumps.image import Image, UnreadableError
from harness.dumps.summary import Found, VirtualMemory
from harness.dumps.unwind.arm64_codes import Code, Op, function_at
from harness.dumps.unwind.state import ARM64_NAMES, FP, LR, SP, WORD, State, stack_word

NONVOLATILE = frozenset((*range(19, 32),))
_HIGH = 0xFFFF_0000_0000_0000


def without_signature(address: int) -> int:
    """A return address without its pointer authentication code: bit 55 tells the half it belongs to."""
    return (address | _HIGH) if address >> 55 & 1 else address & ~_HIGH


def step(image: Image, base: int, state: State, memory: VirtualMemory) -> State:
    """The caller's state.

    Raises:
        UnreadableError: unwind data, a register or a word of the stack is missing.
    """
    offset = state.pc - base
    function = function_at(image, offset if state.interrupted else offset - 4)
    inner = state.copy()
    inner.location = 0
    if function is None:
        if not state.interrupted:
            raise UnreadableError("a leaf function calls nothing")
        return returned(inner, Found.LEAF)
    for code in _to_undo(function.prologue, function.epilogues, offset - function.start, state.interrupted):
        if special := _undo(code, inner, memory):
            return special
    return returned(inner, Found.UNWOUND)


def _to_undo(
    prologue: tuple[Code, ...],
    epilogues: tuple[tuple[int, tuple[Code, ...]], ...],
    executed: int,
    interrupted: bool,
) -> tuple[Code, ...]:
    """The operations that are in effect: in the prologue those done, in an epilogue those not yet undone."""
    instructions = executed // 4
    if interrupted:
        if instructions < len(prologue):
            return prologue[len(prologue) - instructions :]
        for start, codes in epilogues:
            if start <= executed <= start + 4 * len(codes):
                return codes[(executed - start) // 4 :]
    return prologue


def _undo(code: Code, state: State, memory: VirtualMemory) -> State | None:
    if code.op is Op.ALLOCATE:
        state.sp += code.size
    elif code.op is Op.LOAD:
        sp = state.sp
        for index, register in enumerate(code.registers):
            if register >= 0:
                value = stack_word(memory, sp + code.offset + 8 * index)
                if register == LR:
                    state.location = (sp + code.offset + 8 * index) & WORD
                state.registers[register] = value
        state.sp = sp + code.size
    elif code.op is Op.SET_FP:
        state.sp = state.register(FP) - code.size
    elif code.op is Op.MACHINE_FRAME:
        sp = state.sp
        state.pc, state.sp = stack_word(memory, sp + 8), stack_word(memory, sp)
        state.found, state.interrupted, state.location = Found.MACHINE_FRAME, True, (sp + 8) & WORD
        return state
    elif code.op is Op.CONTEXT:
        return _context(state, memory)
    elif code.op is Op.UNKNOWN:
        raise UnreadableError("an unwind operation that is not known")
    return None


def _context(state: State, memory: VirtualMemory) -> State:
    """The state in the CONTEXT that lies on top of the stack."""
    values = cpu.registers(memory.read(state.sp, cpu.CONTEXT_SIZE[cpu.ARM64]), cpu.ARM64)
    if not values:
        raise UnreadableError("the context on the stack")
    location = (state.sp + 0x108) & WORD
    found = [values.get(name) for name in ARM64_NAMES]
    return State(cpu.ARM64, values["pc"], found, True, Found.MACHINE_FRAME, location)


def returned(state: State, found: Found) -> State:
    """The caller, once the link register holds its address. Volatile registers are lost."""
    pc = without_signature(state.register(LR))
    kept = [value if number in NONVOLATILE else None for number, value in enumerate(state.registers)]
    kept[LR] = None
    return State(state.machine, pc, kept, False, found, state.location)


def by_frame_pointer(state: State, memory: VirtualMemory) -> State:
    """The caller by the chain of frame records that FP heads; for code whose unwind data is missing.

    Raises:
        UnreadableError: FP is not known, points below SP, or is not in memory.
    """
    frame = state.register(FP)
    data = memory.read(frame, 16)
    if len(data) < 16 or frame < state.sp or frame & 7:
        raise UnreadableError("the frame record")
    before, address = struct.unpack("<QQ", data)
    registers: list[int | None] = [None] * len(ARM64_NAMES)
    registers[FP], registers[SP] = before, (frame + 16) & WORD
    return State(state.machine, without_signature(address), registers, False, Found.FRAME_POINTER, frame + 8)

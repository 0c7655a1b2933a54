"""One step up an ARM64 stack by its unwind data: the registers of a frame in, those of its caller out."""

from __future__ import annotations

import struct

from harness.dumps import cpu
from harness.dumps.image import Image, UnreadableError
from harness.dumps.summary import Found, VirtualMemory
from harness.dumps.unwind.arm64_codes import Code, Function, Op, function_at
from harness.dumps.unwind.state import ARM64_NAMES, FP, LR, SP, WORD, State, stack_word

NONVOLATILE = frozenset((*range(19, 32),))
_HIGH = 0xFFFF_0000_0000_0000
_CONTEXT_PC, _UNWOUND_TO_CALL = 0x108, 0x20000000
_TRAP_SP, _TRAP_END = 0x98, 0x150
"""In a KTRAP_FRAME: Sp, X0 to X18, Lr, Fp and Pc, which ends it."""


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
    inner.found = Found.REGISTERS  # until an operation gives the caller
    for code in _to_undo(function, offset - function.start, state.interrupted):
        _undo(code, inner, memory)
    return returned(inner, Found.UNWOUND) if inner.found is Found.REGISTERS else inner


def _to_undo(function: Function, executed: int, interrupted: bool) -> tuple[Code, ...]:
    """The operations that are in effect: in the prologue those done, in an epilogue those not yet undone."""
    instructions = executed // 4
    if interrupted:
        if instructions < function.own:
            return function.prologue[function.own - instructions :]
        for start, count, codes in function.epilogues:
            if start <= executed <= start + 4 * count:
                return codes[(executed - start) // 4 :]
    return function.prologue


def _undo(code: Code, state: State, memory: VirtualMemory) -> None:
    """Undoes an operation. One of `CUSTOM` gives the caller's PC, after which LR is no return address."""
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
        pc = stack_word(memory, sp + 8)
        state.sp = stack_word(memory, sp)
        _interrupted(state, pc, sp + 8)
    elif code.op is Op.TRAP_FRAME:
        _trap_frame(state, memory)
    elif code.op is Op.CONTEXT:
        _context(state, memory)
    elif code.op is Op.INTERRUPTED:
        _interrupted(state, without_signature(state.register(LR)), state.location)
    elif code.op is Op.UNKNOWN:
        raise UnreadableError("an unwind operation that is not known")


def _interrupted(state: State, pc: int, location: int) -> None:
    state.pc, state.location = pc, location & WORD
    state.found, state.interrupted = Found.MACHINE_FRAME, True


def _trap_frame(state: State, memory: VirtualMemory) -> None:
    """The state in the KTRAP_FRAME at SP; it does not hold the non-volatile registers X19 to X28."""
    sp = state.sp
    data = memory.read(sp + _TRAP_SP, _TRAP_END - _TRAP_SP)
    if len(data) < _TRAP_END - _TRAP_SP:
        raise UnreadableError("the trap frame on the stack")
    caller_sp, *volatile, link, frame, pc = struct.unpack("<23Q", data)
    state.registers[: len(volatile)] = volatile
    state.registers[FP], state.registers[LR], state.sp = frame, link, caller_sp
    _interrupted(state, pc, sp + _TRAP_END - 8)


def _context(state: State, memory: VirtualMemory) -> None:
    """The state in the CONTEXT at SP, whose flags tell whether PC is where a call returns to."""
    sp = state.sp
    values = cpu.registers(memory.read(sp, cpu.CONTEXT_SIZE[cpu.ARM64]), cpu.ARM64)
    if not values:
        raise UnreadableError("the context on the stack")
    state.registers[:] = [values.get(name) for name in ARM64_NAMES]
    _interrupted(state, values["pc"], sp + _CONTEXT_PC)
    if values["context_flags"] & _UNWOUND_TO_CALL:
        state.found, state.interrupted = Found.UNWOUND, False


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

"""One step up an x64 stack by UNWIND_INFO: the registers of a frame in, those of its caller out."""

from __future__ import annotations

from harness.dumps.image import Image, UnreadableError
from harness.dumps.summary import Found, VirtualMemory
from harness.dumps.unwind.state import RSP, WORD, State, stack_word
from harness.dumps.unwind.x64_epilogue import epilogue
from harness.dumps.unwind.x64_info import Op, UnwindInfo, function_at, unwind_info

NONVOLATILE = frozenset({3, 4, 5, 6, 7, 12, 13, 14, 15})
MAX_CHAIN = 32
_EPILOGUE_BYTES = 64


def returned(memory: VirtualMemory, state: State, found: Found) -> State:
    """The caller, once its return address is on top of the stack. Volatile registers are lost.

    Raises:
        UnreadableError: the stack pointer or the word there is unknown.
    """
    sp = state.sp
    kept = [value if number in NONVOLATILE else None for number, value in enumerate(state.registers)]
    caller = State(state.machine, stack_word(memory, sp), kept, False, found, sp)
    caller.sp = sp + 8
    return caller


def step(image: Image, base: int, state: State, memory: VirtualMemory) -> State:
    """The caller's state, found by unwinding, as a leaf function's return, or in a machine frame.

    Raises:
        UnreadableError: unwind data, a register or a word of the stack is missing.
    """
    offset = state.pc - base
    # A call may be the last instruction of a function that it does not return to.
    function = function_at(image, offset if state.interrupted else offset - 1)
    if function is None:
        if not state.interrupted:
            raise UnreadableError("a leaf function calls nothing")
        return returned(memory, state, Found.LEAF)
    start, end, unwind = function
    info = unwind_info(image, unwind)
    inner = state.copy()
    executed = offset - start
    if state.interrupted and executed >= info.prologue and _may_leave(info, offset, end):
        code = image.read(offset, _EPILOGUE_BYTES)
        if rest := epilogue(code, offset, (start, end), info.frame_register):
            inner.sp = inner.register(rest.base) + rest.add
            for number in rest.pops:
                _pop(inner, number, memory)
            return returned(memory, inner, Found.UNWOUND)
    for _ in range(MAX_CHAIN):
        if machine := _undo(info, executed, inner, memory):
            return machine
        if info.chained is None:
            return returned(memory, inner, Found.UNWOUND)
        # The chained function's prologue ran to its end before this fragment was entered.
        executed = 1 << 32
        info = unwind_info(image, info.chained[2] & ~1)
    raise UnreadableError("unwind information that is chained without end")


def _may_leave(info: UnwindInfo, offset: int, end: int) -> bool:
    """Whether version 2, which lists its epilogues, has one here; version 1 is judged by its code."""
    if info.version == 1:
        return True
    return any(end - distance <= offset < end - distance + size for distance, size in info.epilogues)


def _pop(state: State, number: int, memory: VirtualMemory) -> None:
    sp = state.sp
    state.registers[number] = stack_word(memory, sp)
    if number != RSP:
        state.sp = sp + 8


def _undo(info: UnwindInfo, executed: int, state: State, memory: VirtualMemory) -> State | None:
    """Takes back what the prologue did in its first `executed` bytes; the trapped state if there is one."""
    frame = state.sp
    if info.frame_register and any(c.op is Op.SET_FPREG and c.end <= executed for c in info.codes):
        frame = state.register(info.frame_register) - info.frame_offset
    for code in info.codes:
        if code.end > executed:
            continue
        if code.op is Op.PUSH_NONVOL:
            _pop(state, code.value, memory)
        elif code.op in (Op.ALLOC_SMALL, Op.ALLOC_LARGE):
            state.sp += code.value
        elif code.op is Op.SET_FPREG:
            state.sp = state.register(info.frame_register) - info.frame_offset
        elif code.op in (Op.SAVE_NONVOL, Op.SAVE_NONVOL_FAR):
            state.registers[code.value] = stack_word(memory, frame + code.offset)
        elif code.op is Op.PUSH_MACHFRAME:
            at = state.sp + 8 * (code.value & 1)
            state.pc, state.sp = stack_word(memory, at), stack_word(memory, at + 24)
            state.found, state.interrupted, state.location = Found.MACHINE_FRAME, True, at & WORD
            return state
    return None

"""x86 has no unwind data: the chain of frames that EBP heads is followed, which functions may keep."""

from __future__ import annotations

import struct

from harness.dumps import cpu
from harness.dumps.image import UnreadableError
from harness.dumps.summary import Found, VirtualMemory
from harness.dumps.unwind.state import EBP, ESP, X86_NAMES, State

RETURNS = (b"\xc3", b"\xc2")
"""Instructions that return: the return address is on top of the stack, as in a system call's stub."""


def by_frame_pointer(state: State, memory: VirtualMemory) -> State:
    """The caller by the frame that EBP points to: the caller's EBP, then the return address.

    Raises:
        UnreadableError: EBP is not known, points below ESP, or is not in memory.
    """
    frame = state.register(EBP)
    data = memory.read(frame, 8)
    if len(data) < 8 or frame < state.sp or frame & 3:
        raise UnreadableError("the frame of EBP")
    before, address = struct.unpack("<II", data)
    registers: list[int | None] = [None] * len(X86_NAMES)
    registers[EBP], registers[ESP] = before, frame + 8
    return State(cpu.X86, address, registers, False, Found.FRAME_POINTER, frame + 4)


def leaf(state: State, memory: VirtualMemory) -> State:
    """The caller of code that is not available: its return address is on top of the stack.

    Raises:
        UnreadableError: it is not in memory.
    """
    sp = state.sp
    data = memory.read(sp, 4)
    if len(data) < 4:
        raise UnreadableError("the stack")
    registers: list[int | None] = list(state.registers)
    registers[ESP] = sp + 4
    return State(cpu.X86, int.from_bytes(data, "little"), registers, False, Found.LEAF, sp)

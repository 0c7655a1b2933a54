"""An exception that another one hides: the record of the first is on the stack while it is dispatched.

An x64 system enters the user-mode dispatcher with this on the thread's stack, Windows and Wine alike: a
CONTEXT, at 0x4F0 the EXCEPTION_RECORD, at 0x590 the machine frame (rip, cs, eflags, rsp). If code that the
dispatcher calls faults too, as Wine's ntoskrnl.exe does when it reads the instruction at an overwritten
address, the dump names that second fault.
"""

from __future__ import annotations

import struct

from harness.dumps import cpu
from harness.dumps.attribution import MAX_STACK
from harness.dumps.summary import ExceptionRecord, VirtualMemory

_RECORD, _MACHINE_FRAME, _SIZE = 0x4F0, 0x590, 0x5B8
_MOST_STATE = 0x4000
"""Bytes of extended processor state between the machine frame and the stack pointer that it names."""
_SEVERE = 0xC0000000


def first_exception(memory: VirtualMemory, sp: int) -> tuple[ExceptionRecord, dict[str, int]] | None:
    """Record and registers of the outermost exception that is being dispatched above `sp`; None without one.

    CONTEXT, record and machine frame must agree on instruction and stack pointer.
    """
    start = (sp + 15) & ~15
    data = memory.read(start, MAX_STACK)
    for at in range((len(data) - _SIZE) & ~15, -1, -16):
        (rip,) = struct.unpack_from("<Q", data, at + 0xF8)
        returns_to, _, _, stack = struct.unpack_from("<4Q", data, at + _MACHINE_FRAME)
        if returns_to != rip or not start + at + _MACHINE_FRAME < stack < start + at + _SIZE + _MOST_STATE:
            continue
        registers = cpu.registers(data[at : at + cpu.CONTEXT_SIZE[cpu.X64]], cpu.X64)
        record = cpu.exception_record(data[at + _RECORD : at + _RECORD + cpu.EXCEPTION_SIZE])
        if (
            record is not None
            and record.code >= _SEVERE
            and record.address == rip
            and registers.get("rsp") == stack
        ):
            return record, registers
    return None

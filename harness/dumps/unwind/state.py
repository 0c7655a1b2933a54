"""A frame's registers on the way up a stack, and reading the words of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping

from harness.dumps import cpu
from harness.dumps.image import UnreadableError
from harness.dumps.summary import Found, VirtualMemory

WORD = (1 << 64) - 1
X64_NAMES = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", *(f"r{n}" for n in range(8, 16)))
ARM64_NAMES = (*(f"x{n}" for n in range(29)), "fp", "lr", "sp")
X86_NAMES = ("eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi")
RSP, RBP = 4, 5
TARGET_SPAN = 0x1000
"""Bytes from a function's start in which an instruction is taken to be the function's."""
ESP, EBP = 4, 5
FP, LR, SP = 29, 30, 31
_STACK_POINTER = {cpu.X64: RSP, cpu.ARM64: SP, cpu.X86: ESP}
_FRAME_POINTER = {cpu.ARM64: FP, cpu.X86: EBP}
_NAMES = {cpu.X64: X64_NAMES, cpu.ARM64: ARM64_NAMES, cpu.X86: X86_NAMES}
WORD_SIZE = {cpu.X64: 8, cpu.ARM64: 8, cpu.X86: 4}


class State:
    """Instruction pointer and registers by number, None where nothing tells them.

    interrupted: the instruction was not reached by the return of a call: it is the fault's, or that of a
        machine frame, and may lie in a prologue, an epilogue or a leaf function.
    location: where on the stack the instruction pointer lay; 0 for the first frame.
    """

    __slots__ = ("found", "interrupted", "location", "machine", "pc", "registers")

    def __init__(
        self,
        machine: int,
        pc: int,
        registers: list[int | None],
        interrupted: bool = True,
        found: Found = Found.REGISTERS,
        location: int = 0,
    ) -> None:
        self.machine = machine
        self.pc = pc
        self.registers = registers
        self.interrupted = interrupted
        self.found = found
        self.location = location

    @property
    def sp(self) -> int:
        """The stack pointer.

        Raises:
            UnreadableError: it is not known.
        """
        return self.register(_STACK_POINTER[self.machine])

    @sp.setter
    def sp(self, value: int) -> None:
        self.registers[_STACK_POINTER[self.machine]] = value & WORD

    @property
    def frame_pointer(self) -> int | None:
        """The head of the chain of frame records, where that is known; always None on x64."""
        number = _FRAME_POINTER.get(self.machine)
        return None if number is None else self.registers[number]

    def register(self, number: int) -> int:
        """A register's value.

        Raises:
            UnreadableError: it is not known.
        """
        value = self.registers[number]
        if value is None:
            raise UnreadableError(f"register {_NAMES[self.machine][number]} is not known")
        return value

    def copy(self) -> State:
        """A copy with the same values."""
        return State(self.machine, self.pc, list(self.registers), self.interrupted, self.found, self.location)


def state_of(registers: Mapping[str, int], machine: int) -> State | None:
    """The first frame's state; None when a pointer is missing, or for other machines."""
    pc, sp = cpu.instruction_pointer(registers), cpu.stack_pointer(registers)
    if pc is None or sp is None or machine not in _NAMES:
        return None
    return State(machine, pc, [registers.get(name) for name in _NAMES[machine]])


def bare_state(machine: int, pc: int, sp: int, location: int) -> State:
    """The state of a frame of which only a return address was found."""
    state = State(machine, pc, [None] * len(_NAMES[machine]), False, Found.SCAN, location)
    state.sp = sp
    return state


def stack_word(memory: VirtualMemory, address: int) -> int:
    """The 64-bit word at `address`.

    Raises:
        UnreadableError: it is not in memory.
    """
    data = memory.read(address & WORD, 8)
    if len(data) < 8:
        raise UnreadableError(f"the stack at {address:#x}")
    return int(struct.unpack("<Q", data)[0])

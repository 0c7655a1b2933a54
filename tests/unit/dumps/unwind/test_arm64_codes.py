"""ARM64 unwind data by hand: what compilers seldom write, and the kernel's own frames on a stack.

The layouts are Microsoft's (ARM64 exception handling), by position.
"""

from __future__ import annotations

import struct

import pytest

from harness.dumps import cpu
from harness.dumps.attribution import AddressMap
from harness.dumps.summary import Found, Module
from harness.dumps.unwind.walk import StackWalk

BASE, STACK = 0xFFFFF80050000000, 0xFFFFF90000000000
TABLE, DATA = 0x8000, 0x9000
HANDLER, CALLER, OUTER = 0x1000, 0x2000, 0x3000
RETURN = OUTER + 8
CALL = struct.pack("<I", 0x94000000)
LENGTH = 0x100
END, SAVE_FPLR_X, SET_FP = 0xE4, 0x81, 0xE1
TRAP, MACHINE, CONTEXT, CLEAR = 0xE8, 0xE9, 0xEA, 0xEC


class Arm64:
    """An image of a handler, whose unwind data is a test's, and two functions that it may lead to."""

    def __init__(self, *codes: int, packed: int = 0, single: int | None = None) -> None:
        self.data = bytearray(0x10000)
        self.stack = bytearray(0x2000)
        self.data[:2] = b"MZ"
        struct.pack_into("<I", self.data, 0x3C, 0x80)
        self.data[0x80:0x84] = b"PE\0\0"
        struct.pack_into("<HHI", self.data, 0x84, cpu.ARM64, 1, 1)
        struct.pack_into("<H", self.data, 0x94, 0xF0)
        struct.pack_into("<H", self.data, 0x98, 0x20B)
        struct.pack_into("<8sIIII", self.data, 0x98 + 0xF0, b".text", 0x7000, 0x1000, 0x7000, 0x400)
        struct.pack_into("<I", self.data, 0x98 + 0xF0 + 36, 0x60000020)
        struct.pack_into("<II", self.data, 0x98 + 112 + 8 * 3, TABLE, 8 * 3)
        chained = (SET_FP, SAVE_FPLR_X, END)
        for index, (start, of) in enumerate(((HANDLER, codes), (CALLER, chained), (OUTER, chained))):
            at = DATA + 0x100 * index
            words = -(-len(of) // 4)
            epilogue = single if start == HANDLER else None
            head = LENGTH // 4 | words << 27
            head |= 0 if epilogue is None else 1 << 21 | epilogue << 22
            self.data[at : at + 4 + 4 * words] = struct.pack("<I", head) + bytes(of).ljust(4 * words, b"\xe4")
            entry = packed if packed and start == HANDLER else at
            struct.pack_into("<II", self.data, TABLE + 8 * index, start, entry)
            self.data[start + 4 : start + 8] = CALL

    def read(self, address: int, size: int) -> bytes:
        for start, data in ((BASE, self.data), (STACK, self.stack)):
            if start <= address < start + len(data):
                return bytes(data[address - start :][:size])
        return b""

    def words(self, offset: int, *words: int) -> None:
        struct.pack_into(f"<{len(words)}Q", self.stack, offset, *words)

    def frames(self, pc: int = HANDLER + 0x40, **registers: int) -> list[tuple[int, int, Found]]:
        addresses = AddressMap([Module("nt", "nt", BASE, len(self.data))], [], self, cpu.ARM64)
        state = {"pc": BASE + pc, "sp": STACK, "fp": 0, "lr": 0} | registers
        walked = StackWalk(addresses, self, cpu.ARM64).walk(state)
        return [(one.place.offset or 0, one.sp - STACK, one.found) for one in walked[1:]]


def caller_frame(image: Arm64, at: int) -> None:
    """The frame record of `CALLER`, which `OUTER` called."""
    image.words(at, 0, BASE + RETURN)


def test_a_trap_frame_gives_the_interrupted_state() -> None:
    """As the kernel's exception vectors keep it: behind the non-volatile registers that were stored first."""
    image = Arm64(0xC8, 0x02, 0x02, TRAP, END)  # save_regp x19, [sp+0x10]; alloc 0x20; the trap frame
    image.words(0x10, STACK + 0x600, 20)
    image.words(
        0x20 + 0x98, STACK + 0x800, *range(19), BASE + CALLER + 8, STACK + 0x800, BASE + CALLER + 0x20
    )
    caller_frame(image, 0x800)
    assert image.frames() == [
        (CALLER + 0x20, 0x800, Found.MACHINE_FRAME),
        (RETURN, 0x810, Found.UNWOUND),
    ]


def test_a_machine_frame_gives_the_stack_pointer_and_the_interrupted_instruction() -> None:
    image = Arm64(0x01, MACHINE, END)
    image.words(0x10, STACK + 0x800, BASE + CALLER + 0x20)
    caller_frame(image, 0x800)
    assert image.frames(fp=STACK + 0x800) == [
        (CALLER + 0x20, 0x800, Found.MACHINE_FRAME),
        (RETURN, 0x810, Found.UNWOUND),
    ]


@pytest.mark.parametrize(
    ("unwound", "offset", "found"),
    [(0, CALLER + 0x20, Found.MACHINE_FRAME), (0x20000000, CALLER + 8, Found.UNWOUND)],
)
def test_a_context_tells_whether_its_caller_was_interrupted(unwound: int, offset: int, found: Found) -> None:
    image = Arm64(CONTEXT, END)
    struct.pack_into("<I", image.stack, 0, 0x00400003 | unwound)
    image.words(0x8 + 8 * 29, STACK + 0x800, 0, STACK + 0x800, BASE + offset)
    caller_frame(image, 0x800)
    assert image.frames() == [(offset, 0x800, found), (RETURN, 0x810, Found.UNWOUND)]


def test_a_link_register_that_no_call_set_leads_to_an_interrupted_instruction() -> None:
    """Where it leads, no call stands in front: without this operation it would be no caller."""
    image = Arm64(SAVE_FPLR_X, CLEAR, END)
    image.words(0, STACK + 0x10, BASE + CALLER + 0x20)
    caller_frame(image, 0x10)
    assert image.frames() == [
        (CALLER + 0x20, 0x10, Found.MACHINE_FRAME),
        (RETURN, 0x20, Found.UNWOUND),
    ]


def test_such_operations_stand_for_no_instruction() -> None:
    """Behind the one instruction of its prologue the handler is in its body, though it has two operations."""
    image = Arm64(0x01, MACHINE, END)
    image.words(0x10, STACK + 0x800, BASE + CALLER + 0x20)
    caller_frame(image, 0x800)
    assert image.frames(HANDLER + 4, fp=STACK + 0x800)[0] == (CALLER + 0x20, 0x800, Found.MACHINE_FRAME)


@pytest.mark.parametrize("pc", [HANDLER, HANDLER + 4, HANDLER + 0x40])
def test_a_fragment_s_prologue_was_executed_elsewhere(pc: int) -> None:
    """Its data starts with the end mark of its own part: nothing of it is undone step by step."""
    image = Arm64(0xE5, 0x02, SAVE_FPLR_X, END)
    image.words(0x20, 0, BASE + RETURN)
    assert image.frames(pc) == [(RETURN, 0x30, Found.UNWOUND)]


@pytest.mark.parametrize("pc", [HANDLER, HANDLER + 4, HANDLER + 0x40])
def test_a_packed_fragment_has_no_prologue_either(pc: int) -> None:
    packed = 2 | LENGTH // 4 << 2 | 2 << 16 | 3 << 21 | 3 << 23  # x19, x20 and a frame record, 48 bytes
    image = Arm64(packed=packed)
    image.words(0, 0, BASE + RETURN)
    assert image.frames(pc, fp=STACK) == [(RETURN, 0x30, Found.UNWOUND)]


@pytest.mark.parametrize(
    ("instructions", "low", "sp"),
    [(0, 0, 0), (1, 0, 0x10), (2, 1, 0x10), (3, 1, 0x30)],
)
def test_x19_alone_with_lr_takes_an_instruction_for_its_room(instructions: int, low: int, sp: int) -> None:
    """Packed, 0x30 bytes: `sub sp, #16`, `stp x19, lr, [sp]`, `sub sp, #32`."""
    image = Arm64(packed=1 | LENGTH // 4 << 2 | 1 << 16 | 1 << 21 | 3 << 23)
    image.words(sp - 0x10 if sp else 0x100, 19, BASE + RETURN)
    link = 0 if low else BASE + RETURN
    assert image.frames(HANDLER + 4 * instructions, lr=link)[0][:2] == (RETURN, sp)


@pytest.mark.parametrize("instructions", [1, 2, 40])
def test_homes_without_saved_registers_are_in_the_local_area(instructions: int) -> None:
    """Packed, with a frame record: `stp fp, lr, [sp, #-0x50]!` and `mov fp, sp` are the whole prologue."""
    image = Arm64(packed=1 | LENGTH // 4 << 2 | 1 << 20 | 3 << 21 | 5 << 23)
    image.words(0, 0, BASE + RETURN)
    found = image.frames(HANDLER + 4 * instructions, fp=STACK)
    assert found == [(RETURN, 0x50, Found.UNWOUND)]


def test_reserved_operations_and_those_of_vectors_are_passed_over() -> None:
    image = Arm64(0xF8, 0x12, 0xFB, 1, 2, 3, 4, 0xFD, 0xE7, 0x28, 0xC1, SAVE_FPLR_X, END)
    image.words(0, 0, BASE + RETURN)
    assert image.frames() == [(RETURN, 0x10, Found.UNWOUND)]


@pytest.mark.parametrize("code", [0xEB, 0xED, 0xF0, 0xDF])
def test_an_operation_that_is_not_documented_ends_the_unwinding(code: int) -> None:
    image = Arm64(code, SAVE_FPLR_X, SAVE_FPLR_X, END)
    image.words(0, 0, BASE + RETURN)
    assert all(found is not Found.UNWOUND for _, _, found in image.frames())

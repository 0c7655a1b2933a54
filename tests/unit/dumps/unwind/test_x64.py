"""x64 unwind data that compilers seldom write: every operation, machine frames, chains, both versions."""

from __future__ import annotations

import random
import struct

import pytest

from harness.dumps.attribution import AddressMap, blamed
from harness.dumps.summary import Found, Module, Place, StackFrame
from harness.dumps.unwind.walk import MAX_FRAMES, StackWalk
from tests.fakes.unwind_image import BASE, SIZE, STACK, UnwindImage, slot

PUSH, LARGE, SMALL, FRAME, SAVE, FAR, EPILOG, XMM, XMM_FAR, MACHINE = 0, 1, 2, 3, 4, 5, 6, 8, 9, 10
RBX, RBP, RSI = 3, 5, 6
MODULE = Module("made.sys", "made.sys", BASE, SIZE)


@pytest.fixture
def image() -> UnwindImage:
    made = UnwindImage()
    made.function(0x2000, 0x2100, made.info([slot(4, SMALL, 4)], prologue=4))  # the caller: 0x28 bytes
    made.call(0x2050)
    made.words(0x900, *[0] * 64)
    return made


def walk(image: UnwindImage, pc: int, sp: int, **registers: int) -> list[tuple[int, int, str]]:
    frames = StackWalk(AddressMap([MODULE], [], image), image, 0x8664).walk(
        {"rip": BASE + pc, "rsp": STACK + sp, **registers}
    )
    return [(frame.place.address - BASE, frame.sp - STACK, frame.found.value) for frame in frames]


def test_every_operation_of_a_prologue(image: UnwindImage) -> None:
    slots = [
        *(slot(40, XMM, 6), 2, slot(36, XMM_FAR, 7), 0x20, 0, slot(32, SAVE, RSI), 1),
        *(slot(28, FAR, RBX), 0x18, 0, slot(24, LARGE, 1), 0x100, 0, slot(20, LARGE, 0), 4),
        *(slot(12, SMALL, 0), slot(2, PUSH, RBP)),
    ]
    image.function(0x1000, 0x1100, image.info(slots, prologue=40))
    image.words(0x100 + 0x100 + 0x20 + 8 + 8, BASE + 0x2050)
    image.words(0x108, 0x1111)  # RSI
    assert walk(image, 0x1080, 0x100)[:2] == [(0x1080, 0x100, "registers"), (0x2050, 0x238, "unwound")]


@pytest.mark.parametrize(("executed", "sp"), [(0, 0x130), (1, 0x128), (2, 0x120), (6, 0x100), (0x10, 0x100)])
def test_a_prologue_is_undone_as_far_as_it_ran(executed: int, sp: int, image: UnwindImage) -> None:
    slots = [slot(6, SMALL, 3), slot(2, PUSH, RBX), slot(1, PUSH, RBP)]
    image.function(0x1000, 0x1100, image.info(slots, prologue=6))
    image.words(0x130, BASE + 0x2050)
    assert walk(image, 0x1000 + executed, sp)[1] == (0x2050, 0x138, "unwound")


def test_a_frame_register_tells_the_stack_pointer_that_alloca_moved(image: UnwindImage) -> None:
    slots = [slot(9, FRAME), slot(5, SMALL, 7), slot(1, PUSH, RBP)]
    image.function(0x1000, 0x1100, image.info(slots, prologue=9, frame=RBP | 2 << 4))
    image.words(0x300 - 0x20 + 0x40 + 8, BASE + 0x2050)
    assert walk(image, 0x1050, 0x40, rbp=STACK + 0x300)[1] == (0x2050, 0x330, "unwound")
    assert walk(image, 0x1050, 0x40)[1][2] == "scan"  # unknown without RBP


def test_a_chained_fragment_continues_its_function_s_prologue(image: UnwindImage) -> None:
    whole = image.info([slot(5, SMALL, 3), slot(1, PUSH, RBP)], prologue=5)
    image.function(0x1000, 0x1040, whole)
    part = image.info([slot(4, SAVE, RBX), 2], prologue=4, flags=4, chained=(0x1000, 0x1040, whole))
    image.function(0x1040, 0x1080, part)
    image.words(0x100 + 0x20 + 8, BASE + 0x2050)
    for offset in (0x1040, 0x1043, 0x1050):
        assert walk(image, offset, 0x100)[1] == (0x2050, 0x130, "unwound")


def test_an_entry_that_refers_to_another_is_followed(image: UnwindImage) -> None:
    image.function(0x1000, 0x1040, image.info([slot(4, SMALL, 0)], prologue=4))
    image.function(0x1040, 0x1080, 0x8000 + 1)  # odd: the offset of another entry
    image.words(0x108, BASE + 0x2050)
    assert walk(image, 0x1050, 0x100)[1] == (0x2050, 0x110, "unwound")


@pytest.mark.parametrize("error_code", [0, 1])
def test_an_exception_in_the_middle_is_crossed_by_its_machine_frame(
    error_code: int, image: UnwindImage
) -> None:
    image.function(0x1000, 0x1100, image.info([slot(4, SMALL, 3), slot(0, MACHINE, error_code)], prologue=4))
    image.call(0x1050)
    image.function(0x3000, 0x3100, image.info([slot(1, PUSH, RBX)], prologue=1))
    at = 0x100 + 0x20 + 8 * error_code
    image.words(at, BASE + 0x3000, 0x10, 0x246, STACK + 0x800, 0x18)  # it faulted before its push
    image.words(0x800, BASE + 0x2050)
    assert walk(image, 0x1050, 0x100)[1:3] == [(0x3000, 0x800, "machine frame"), (0x2050, 0x808, "unwound")]


def test_a_machine_frame_may_lead_to_user_mode_and_ends_there(image: UnwindImage) -> None:
    image.function(0x1000, 0x1100, image.info([slot(4, SMALL, 0), slot(0, MACHINE, 0)], prologue=4))
    image.words(0x108, 0x7FF712345678, 0x33, 0x246, 0x50000, 0x2B)
    frames = walk(image, 0x1050, 0x100)
    assert [(pc + BASE, found) for pc, _, found in frames[1:]] == [(0x7FF712345678, "machine frame")]


@pytest.mark.parametrize(
    ("code", "sp"),
    [
        ("4883c428 5b 5d c3", 0x100),  # add rsp, 28h
        ("4881c428000000 5b 5d c3", 0x100),
        ("5b 5d c3", 0x128),
        ("5d c3", 0x130),
        ("c3", 0x138),
        ("f3c3", 0x138),
        ("c20800", 0x138),
        ("5b 5d eb00", 0x128),  # a tail call, patched below to leave the function
        ("5b 5d ff2500000000", 0x128),
        ("5b 5d 48ffe0", 0x128),
    ],
)
def test_an_epilogue_is_finished(code: str, sp: int, image: UnwindImage) -> None:
    slots = [slot(6, SMALL, 4), slot(2, PUSH, RBX), slot(1, PUSH, RBP)]
    image.function(0x1000, 0x1100, image.info(slots, prologue=6))
    image.code(0x1080, code.replace("eb00", "e900100000"))
    image.words(0x138, BASE + 0x2050)
    assert walk(image, 0x1080, sp)[1] == (0x2050, 0x140, "unwound")


def test_a_jump_within_the_function_is_no_epilogue(image: UnwindImage) -> None:
    image.function(0x1000, 0x1100, image.info([slot(4, SMALL, 0)], prologue=4))
    image.code(0x1080, "eb10")
    image.words(0x108, BASE + 0x2050)
    assert walk(image, 0x1080, 0x100)[1] == (0x2050, 0x110, "unwound")


@pytest.mark.parametrize(("offset", "sp"), [(0x10FC, 0x130), (0x10FE, 0x138), (0x1040, 0x130)])
def test_version_2_says_where_its_epilogues_are(offset: int, sp: int, image: UnwindImage) -> None:
    slots = [slot(4, EPILOG, 1), slot(0xC0, EPILOG, 0), slot(6, SMALL, 5), slot(1, PUSH, RBX)]
    image.function(0x1000, 0x1100, image.info(slots, version=2, prologue=6))
    image.code(0x10FC, "4158 415e")
    image.code(0x10FE, "5bc3")
    image.code(0x1040, "58 5bc3")
    image.words(0x140, BASE + 0x2050)
    image.words(0x130, 0, 0)
    if offset != 0x10FE:
        image.code(offset, "4883c408 5bc3" if offset == 0x1040 else "5959 5bc3")
    found = walk(image, offset, sp if offset != 0x10FC else 0x128)
    assert found[1] == (0x2050, 0x148, "unwound")


def test_a_leaf_function_returns_by_the_word_on_top(image: UnwindImage) -> None:
    image.words(0x100, BASE + 0x2050)
    assert walk(image, 0x1500, 0x100)[:2] == [(0x1500, 0x100, "registers"), (0x2050, 0x108, "leaf")]


def test_a_function_without_unwind_data_that_moves_the_stack_pointer_is_no_leaf(image: UnwindImage) -> None:
    image.code(0x1500, "4883c428 c3")  # add rsp, 0x28; ret
    image.words(0x100, image.call(0x2060), 0, 0, 0, 0, BASE + 0x2050)
    assert walk(image, 0x1500, 0x100)[1] == (0x2050, 0x130, "code")


@pytest.mark.parametrize("stale", [True, False])
def test_code_that_cannot_be_followed_takes_no_word_that_nothing_supports(
    image: UnwindImage, stale: bool
) -> None:
    """The word on top is of a call to another function, or 0; the one above is of a call to this one."""
    image.code(0x1500, "ffe2")  # jmp rdx
    image.code(0x205B, "e8" + struct.pack("<i", 0x2300 - 0x2060).hex())
    image.code(0x2300, "55")
    image.code(0x204B, "e8" + struct.pack("<i", 0x14F0 - 0x2050).hex())
    image.words(0x100, BASE + 0x2060 if stale else 0, 0, BASE + 0x2050)
    assert walk(image, 0x1500, 0x100)[1] == (0x2050, 0x118, "scan")


def test_a_call_through_a_null_pointer_still_has_its_caller(image: UnwindImage) -> None:
    image.words(0x100, BASE + 0x2050)
    frames = walk(image, -BASE, 0x100)
    assert frames[1] == (0x2050, 0x108, "leaf")


def test_a_call_that_ends_its_function_belongs_to_it(image: UnwindImage) -> None:
    """What follows a call that does not return is another function's first byte."""
    image.function(0x1000, 0x1100, image.info([slot(4, SMALL, 0)], prologue=4))
    image.function(0x1100, 0x1200, image.info([slot(4, SMALL, 15)], prologue=4))
    image.function(0x3000, 0x3100, image.info())
    image.call(0x1100)
    image.words(0x100, BASE + 0x1100)
    image.words(0x110, BASE + 0x2050)
    assert walk(image, 0x3010, 0x100)[1:3] == [(0x1100, 0x108, "unwound"), (0x2050, 0x118, "unwound")]


def test_a_scan_fills_in_and_unwinding_goes_on(image: UnwindImage) -> None:
    image.words(0x100, 1, BASE + 0x2060, 2, BASE + 0x2050, 3)  # no call before the first one
    image.words(0x120 + 0x28, BASE + 0x2050)
    found = walk(image, 0x1500, 0x100)
    assert found[1] == (0x2050, 0x120, "scan")
    assert found[2] == (0x2050, 0x150, "unwound")


def test_a_scanned_frame_never_outranks_an_unwound_one() -> None:
    scanned = StackFrame(Place(1, "stale.sys", 0x10), 0, 0, Found.SCAN)
    unwound = StackFrame(Place(2, "true.sys", 0x20), 0, 0, Found.UNWOUND)
    assert blamed(None, [scanned, unwound]) == (unwound.place, True)
    assert blamed(None, [scanned]) == (scanned.place, True)


def test_a_stack_that_leads_back_to_itself_ends(image: UnwindImage) -> None:
    image.function(0x1000, 0x1100, image.info([slot(0, MACHINE, 0)]))
    image.words(0x100, BASE + 0x1050, 0x10, 0x246, STACK + 0x100, 0x18)
    assert len(walk(image, 0x1050, 0x100)) <= 3


def test_information_chained_to_itself_ends(image: UnwindImage) -> None:
    at = image.info([slot(4, SMALL, 0)], flags=4, chained=(0x1000, 0x1100, 0))
    struct.pack_into("<III", image.data, at + 8, 0x1000, 0x1100, at)
    image.function(0x1000, 0x1100, at)
    assert len(walk(image, 0x1050, 0x100)) <= MAX_FRAMES


def test_hostile_unwind_data_gives_frames_and_nothing_else(image: UnwindImage) -> None:
    chance = random.Random(5)
    image.function(0x1000, 0x1100, image.info([slot(5, SMALL, 3), slot(1, PUSH, RBP)], prologue=5))
    for _ in range(32):
        image.words(8 * chance.randrange(0x800), BASE + chance.randrange(0x1000, 0x8000))
    pristine = bytes(image.data)
    for _ in range(1500):
        image.data[:] = pristine
        for _ in range(chance.choice((1, 4, 32))):
            area = chance.choice((0x80, 0x180, 0x8000, 0x9000))
            at = area + chance.randrange(0x60)
            image.data[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)))
        frames = walk(image, 0x1000 + chance.randrange(0x100), 8 * chance.randrange(0x400), rbp=STACK)
        assert 1 <= len(frames) <= MAX_FRAMES

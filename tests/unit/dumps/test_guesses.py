"""What a scan of the stack found, and all that is derived from it, is a guess: marked, and blamed last."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.dumps.attribution import blamed
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Found, Place, StackFrame, summary_document
from harness.dumps.text import page
from tests.unit.dumps.unwind.test_x64_code import CALLER, STALE, Minidump

KERNEL = Place(0x1000, "ntoskrnl.exe", 0x1000)
FIRST, SECOND, THIRD = (Place(0x2000 + at, f"{at}.sys", at) for at in range(3))


def frame(place: Place, found: Found, *, behind_scan: bool = False) -> StackFrame:
    return StackFrame(place, 0, 0, found, behind_scan)


@pytest.mark.parametrize(
    ("stack", "place"),
    [
        ([frame(FIRST, Found.SCAN), frame(SECOND, Found.CODE, behind_scan=True)], SECOND),
        ([frame(FIRST, Found.SCAN), frame(SECOND, Found.SCAN, behind_scan=True)], FIRST),
        (
            [
                frame(FIRST, Found.SCAN),
                frame(SECOND, Found.UNWOUND, behind_scan=True),
                frame(THIRD, Found.UNWOUND),
            ],
            THIRD,
        ),
        ([frame(FIRST, Found.LEAF), frame(SECOND, Found.UNWOUND)], FIRST),
        ([frame(KERNEL, Found.UNWOUND)], KERNEL),
    ],
)
def test_the_most_certain_frame_is_blamed_then_the_innermost(stack: list[StackFrame], place: Place) -> None:
    assert blamed(KERNEL, [frame(KERNEL, Found.REGISTERS), *stack]) == (place, place is not KERNEL)


def test_frames_that_are_derived_from_a_scanned_one_are_marked() -> None:
    dump = Minidump("e900100000")
    dump.words = {0x8: CALLER, 0x38: STALE, 0x68: CALLER}
    frames = dump.walk()
    assert [(one.found, one.behind_scan, one.exact) for one in frames[:4]] == [
        (Found.REGISTERS, False, True),
        (Found.SCAN, False, False),
        (Found.CODE, True, False),
        (Found.CODE, True, False),
    ]


def test_text_and_json_mark_every_guess(samples: Path) -> None:
    """A real dump without a function table, where some code does not reach a return."""
    summary = summarise(samples / "triage_x64.dmp")
    guesses = sum(not one.exact for one in summary.stack)
    scanned = sum(one.found is Found.SCAN for one in summary.stack)
    assert 0 < scanned < guesses < len(summary.stack)
    lines = list(page(summary))
    assert any(f"{scanned} of them by a scan, {guesses - scanned} derived from these" in one for one in lines)
    assert sum(" ? " in one for one in lines) == guesses
    marks = [one.get("guessed", False) for one in summary_document(summary)["stack"]]
    assert marks == [not one.exact for one in summary.stack]

"""A crash passes only on the expected code and parameters."""

from __future__ import annotations

import pytest

from harness.crash.expectation import describe, mismatch
from harness.guests.wine.log_hints import hinted
from harness.outcome import CrashExpectation, KernelCrash

BUGCHECK = KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 0.0)
NULL_WRITE = KernelCrash("exception", 0xC0000005, (0xC0000005, 0x140001234, 0, 1), 0.0)
HANG = KernelCrash("hang", 0, (), 0.0)


@pytest.mark.parametrize(
    ("expected", "crash"),
    [
        (CrashExpectation(bugcheck=0xE2), BUGCHECK),
        (CrashExpectation(bugcheck=0xE2, parameters=(1, 2, 3, 4)), BUGCHECK),
        (CrashExpectation(bugcheck=0xE2, parameters=(1, None, 3, None)), BUGCHECK),
        (CrashExpectation(bugcheck=0x50, exception=0xC0000005), NULL_WRITE),
        (CrashExpectation(exception=0xC0000005, address=0), NULL_WRITE),
        (CrashExpectation(hang=True), HANG),
        (CrashExpectation(), BUGCHECK),
        (CrashExpectation(), NULL_WRITE),
    ],
)
def test_the_expected_crash_passes(expected: CrashExpectation, crash: KernelCrash) -> None:
    assert mismatch(expected, crash) == ""


@pytest.mark.parametrize(
    ("expected", "crash", "says"),
    [
        (CrashExpectation(bugcheck=0xE3), BUGCHECK, "Expected bugcheck 0x000000e3, got bugcheck 0x000000e2"),
        (CrashExpectation(bugcheck=0xE2, parameters=(1, 2, 3, 5)), BUGCHECK, "parameter 4 to be 0x5"),
        (CrashExpectation(bugcheck=0xE2), NULL_WRITE, "Expected no exception"),
        (CrashExpectation(exception=0xC0000005), BUGCHECK, "Expected no bugcheck"),
        (CrashExpectation(exception=0xC000001D), NULL_WRITE, "Expected exception 0xc000001d"),
        (CrashExpectation(exception=0xC0000005, address=0x10), NULL_WRITE, "on address 0x10"),
        (CrashExpectation(bugcheck=0xE2), HANG, "got a hang"),
        (CrashExpectation(), HANG, "got a hang"),
        (CrashExpectation(hang=True), BUGCHECK, "Expected no bugcheck"),
    ],
)
def test_any_other_crash_is_distinguished(expected: CrashExpectation, crash: KernelCrash, says: str) -> None:
    assert says in mismatch(expected, crash)


def test_descriptions_are_one_line() -> None:
    assert describe(BUGCHECK) == "bugcheck 0x000000e2 (0x1, 0x2, 0x3, 0x4)"
    assert describe(NULL_WRITE) == "exception 0xc0000005 at 0x140001234 on address 0x0"
    assert describe(HANG) == "hang: no progress before the deadline"


def test_a_routine_that_wine_lacks_is_named() -> None:
    text = "wine: Unimplemented function ntoskrnl.exe.CcFlushCache called at address 00006FFF (thread 0134)"
    crash = KernelCrash("exception", 0x80000100, (0x80000100, 0x6FFFFF3FCF77, 0, 0), 0.0, text)
    assert (
        describe(hinted(crash, ())) == "call of ntoskrnl.exe.CcFlushCache, which is not implemented by Wine"
    )

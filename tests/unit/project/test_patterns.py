"""Expected DbgPrint: what matches, what does not, and that no pattern can hold the host up."""

from __future__ import annotations

from harness.outcome import DebugRecord
from harness.project.patterns import unmatched

RECORDS = (
    DebugRecord(1.0, "dbgprint", "winvm: CR42: opened"),
    DebugRecord(2.0, "wine", "err:ntoskrnl: hidden"),
)


def test_every_pattern_needs_a_line_of_dbgprint() -> None:
    assert unmatched([r"CR42: op\w+", "^winvm"], RECORDS) == ""
    assert unmatched([], ()) == ""


def test_what_is_missing_is_named() -> None:
    assert (
        unmatched(["CR42", "hidden"], RECORDS)
        == "DbgPrint has no line that matches 'hidden' among its 1 lines."
    )


def test_a_pattern_that_cannot_be_used_is_no_exception() -> None:
    assert "'(?=x)' cannot be used: invalid perl operator" in unmatched(["(?=x)"], RECORDS)
    assert "cannot be used" in unmatched(["(" * 10_000], RECORDS)
    assert "cannot be used" in unmatched(["((a{100}){100}){100}"], RECORDS)


def test_catastrophic_patterns_take_linear_time() -> None:
    line = DebugRecord(1.0, "dbgprint", "a" * 8000 + "!")
    assert unmatched(["^(a+)+$"], [line]) != ""

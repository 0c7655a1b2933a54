"""Expected DbgPrint: what matches, what does not, and that no pattern can block the host."""

from __future__ import annotations

import time

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


def test_matching_has_a_budget() -> None:
    """A guest may print a million lines and expect what none of them has."""
    records = [DebugRecord(1.0, "dbgprint", "a" * 500)] * 20_000
    started = time.monotonic()
    said = unmatched([f"({number}|b.*c){{1,30}}$" for number in range(150)], records, budget_s=0.3)
    assert "took more than 0.3 s; it ended at" in said
    assert time.monotonic() - started < 5


def test_patterns_are_counted_and_measured() -> None:
    assert "expects 201 DbgPrint patterns; 200 is the limit" in unmatched(map(str, range(201)), RECORDS)
    assert "has 5000 characters; 4096 is the limit" in unmatched(["a" * 5000], RECORDS)

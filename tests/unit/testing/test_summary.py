"""The lines below a session's results."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.outcome import CrashRecord, KernelCrash, Outcome, RunResult, ScenarioResult
from harness.testing.summary import Tally, crashes_line, summary


def run(crashes: int, signatures: int = 1, **counts: int) -> RunResult:
    by_outcome = {Outcome(name): count for name, count in counts.items()}
    found = {f"e2-drv.sys-F{number}": {"s.down": 1} for number in range(signatures if crashes else 0)}
    return RunResult(
        "r", "wine", 0.0, 1.0, by_outcome, crashes, Path("results.json"), ("irql",), signatures=found
    )


@pytest.mark.parametrize(
    ("crashes", "unexpected", "says"),
    [
        (0, 0, "guest wine: 9 scenarios, no crash"),
        (1, 0, "guest wine: 9 scenarios, 1 crash: expected"),
        (1, 1, "guest wine: 9 scenarios, 1 crash: 0 expected, 1 unexpected"),
        (8, 0, "guest wine: 9 scenarios, 8 crashes: all expected"),
        (8, 2, "guest wine: 9 scenarios, 8 crashes: 6 expected, 2 unexpected"),
    ],
)
def test_crashes_are_counted_with_the_expected_ones(crashes: int, unexpected: int, says: str) -> None:
    assert crashes_line(run(crashes, passed=9), unexpected) == says


def test_a_run_in_which_nothing_ran_does_not_read_like_one_that_passed() -> None:
    assert crashes_line(run(0), 0) == "guest wine: no scenario ran"


def test_skips_are_one_line_for_each_capability() -> None:
    tally = Tally()
    for message in ("guest lacks irql", "guest lacks irql, wow64", "not\x1b today\nat all"):
        tally.add(ScenarioResult("s.one", "s", Outcome.SKIPPED, message))
    lines = list(summary(run(0, skipped=3), tally))
    assert lines[1:4] == ["  2 skipped: guest lacks irql", "  1 skipped: guest lacks wow64", r"  1 skipped: not\x1b today"]  # fmt: skip  # noqa: E501


def test_known_differences_are_named_with_their_reason() -> None:
    tally = Tally()
    tally.add(ScenarioResult("m.one", "m", Outcome.DIFFERS, "differs here: it has no such thing"))
    said = list(summary(run(0, differs=1), tally))
    assert "  m.one differs here: it has no such thing" in said
    assert not tally.bad and not tally.skips


def test_what_did_not_pass_is_named_as_it_is_chosen(tmp_path: Path) -> None:
    tally = Tally()
    crash = CrashRecord(KernelCrash("bugcheck", 1, (0, 0, 0, 0), 0.0), "s.down", tmp_path, "1-drv.sys")
    tally.add(ScenarioResult("s.down", "s", Outcome.CRASHED, crash=crash))
    tally.add(ScenarioResult("s.expected", "s", Outcome.PASSED, crash=crash))
    tally.add(ScenarioResult("s.size[64]@checked", "s", Outcome.FAILED))
    lines = list(summary(run(2, passed=1, crashed=1, failed=1), tally))
    assert lines[:3] == [
        "crashed s.down",
        "failed s.size[64]@checked",
        "guest wine: 3 scenarios, 2 crashes: 1 expected, 1 unexpected",
    ]
    assert next(summary(run(2), tally, names=False)).startswith("guest wine"), "pytest lists its node ids"


def test_lines_keep_to_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    tally = Tally()
    tally.add(ScenarioResult("s.one", "s", Outcome.SKIPPED, "some long reason " * 12))
    assert all(len(line) <= 80 for line in summary(run(3, 3, passed=3), tally))

"""winvm's exit codes of a finished pytest session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness.commands.run import exit_code
from harness.outcome import Outcome, RunResult


def result(*outcomes: Outcome) -> RunResult:
    return RunResult("r", "wine", 0.0, 1.0, Counter(outcomes), 0, Path("results.json"))


@pytest.mark.parametrize(
    ("code", "outcomes", "expected"),
    [
        (0, [Outcome.PASSED, Outcome.SKIPPED], 0),
        (1, [Outcome.PASSED, Outcome.FAILED], 1),
        (1, [Outcome.ERROR], 1),
        (1, [Outcome.FAILED, Outcome.CRASHED], 4),
        (1, [Outcome.HUNG], 4),
        (1, [Outcome.FAILED, Outcome.LOST], 3),
        (1, [Outcome.LOST, Outcome.CRASHED], 4),
        (2, [Outcome.PASSED], 2),
        (3, [], 3),
        (4, [], 2),
    ],
)
def test_a_crash_outranks_a_failure(code: int, outcomes: list[Outcome], expected: int) -> None:
    assert exit_code(code, result(*outcomes)) == expected

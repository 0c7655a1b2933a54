"""Two versions compared: turns, outcomes, debug output and the test for a difference in time."""

from __future__ import annotations

from typing import Any

import pytest

from harness.outcome import Outcome
from harness.versions.compare import compare, sign_flip, take_turns
from harness.versions.trial import Trial
from tests.fakes.recorded_runs import printed, result

FAILED = Outcome.FAILED


def trials(*seconds: float, **fields: Any) -> list[Trial]:
    return [Trial((result("a.one", guest_seconds=one, **fields),)) for one in seconds]


def test_turns_begin_with_the_version_that_came_last() -> None:
    order = []

    def version(name: str) -> Trial:
        order.append(name)
        return Trial((result("a.one"),))

    found = take_turns(3, lambda: version("a"), lambda: version("b"))
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert [len(side) for side in found] == [3, 3]


def test_a_version_that_cannot_be_tried_ends_it() -> None:
    found = take_turns(5, lambda: Trial((result("a.one"),)), lambda: Trial(unusable="no C"))
    assert [len(side) for side in found] == [1, 1]


@pytest.mark.parametrize(
    ("differences", "probability"),
    [
        ([1.0], 1.0),
        ([1.0] * 5, 2 / 32),
        ([1.0] * 8, 2 / 256),
        ([1.0, -1.0], 1.0),
        ([0.0] * 6, 1.0),
        ([1, 1, 1, -1], 10 / 16),
    ],
)
def test_the_probability_of_a_difference_by_chance(differences: list[float], probability: float) -> None:
    assert sign_flip(differences) == pytest.approx(probability)


def test_a_slower_version_is_told_from_noise() -> None:
    noise = [0.010, 0.012, 0.011, 0.013, 0.010, 0.011, 0.012, 0.010]
    (slower,) = compare(trials(*noise), trials(*(one * 1.5 for one in noise))).scenarios
    assert slower.other_time and slower.factor == pytest.approx(1.5)
    (same,) = compare(trials(*noise), trials(*reversed(noise))).scenarios
    assert not same.other_time and not same.other_outcome


def test_few_rounds_prove_nothing() -> None:
    (one,) = compare(trials(*[1.0] * 5), trials(*[9.0] * 5)).scenarios
    assert not one.other_time


def test_outcomes_and_scenarios_that_one_lacks() -> None:
    first = [Trial((result("a.one@release"), result("a.gone@release")))] * 2
    second = [Trial((result("a.one@fault"), result("a.new@fault"))), Trial((result("a.one@fault", FAILED),))]
    found = compare(first, second)
    (one,) = found.scenarios
    assert one.other_outcome and one.first.outcomes == (Outcome.PASSED,) * 2
    assert len(one.second.seconds) == 1, "only rounds in which both passed are timed"
    assert found.only == (("a.gone", True), ("a.new", False))


def test_lines_that_only_one_prints_without_their_numbers() -> None:
    first = trials(1.0, dbgprint=printed("drv: opened 0x7fff1234, 3 times", "drv: closed"))
    second = trials(1.0, dbgprint=printed("drv: opened 0x6fff0000, 4 times", "drv: leaked", "drv: closed"))
    (one,) = compare(first, second).scenarios
    assert one.lines == ("+drv: leaked",)

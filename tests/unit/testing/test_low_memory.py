"""Which allocations fail in which run of a scenario, and how such a run is judged."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest

from harness.errors import ConfigurationError
from harness.outcome import DebugRecord, Outcome, ScenarioResult
from harness.testing.low_memory import has_failed, judged, plans

FAILED = DebugRecord(
    0.0, "dbgprint", "winvm-guard: failed: allocation 3 at 00007FFF00001234 0000000000000000"
)


def options(**given: Any) -> Any:
    values = {"--winvm-guard": True, "--winvm-guard-fail": None, "--winvm-guard-sweep": False}
    values |= {f"--winvm-{name.replace('_', '-')}": value for name, value in given.items()}
    return values.__getitem__


def result(outcome: Outcome, *records: DebugRecord) -> ScenarioResult:
    return ScenarioResult("pool.fill", "pool", outcome, "ERROR_NO_SYSTEM_RESOURCES", dbgprint=records)


def test_without_options_nothing_fails() -> None:
    assert list(plans(options(), "pool.fill")) == []


def test_one_allocation() -> None:
    assert list(plans(options(guard_fail="3"), "pool.fill")) == [1 << 32 | 3]


def test_a_share_has_the_scenarios_own_seed() -> None:
    (first,) = plans(options(guard_fail="0.05"), "pool.fill")
    (again,) = plans(options(guard_fail="0.05"), "pool.fill")
    (other,) = plans(options(guard_fail="0.05"), "pool.empty")
    assert first == again != other
    assert (first >> 32 & 0xFF, first & 0xFFFFFFFF) == (2, 50_000)
    assert first < 1 << 64


def test_a_sweep_goes_from_allocation_to_allocation() -> None:
    assert list(islice(plans(options(guard_sweep=True), "pool.fill"), 3)) == [1 << 32 | n for n in (1, 2, 3)]


@pytest.mark.parametrize("asked", ["0", "-1", "1.0", "nan", "many", "1e-9", "99999999999"])
def test_what_is_no_number_and_no_share_is_refused(asked: str) -> None:
    with pytest.raises(ConfigurationError, match="--guard-fail is"):
        list(plans(options(guard_fail=asked), "pool.fill"))


def test_without_a_guard_nothing_can_be_made_to_fail() -> None:
    with pytest.raises(ConfigurationError, match="only be made to fail in a driver with a guard"):
        list(plans(options(guard=False, guard_sweep=True), "pool.fill"))


def test_a_scenario_whose_driver_refused_passes_with_a_note() -> None:
    told = judged(result(Outcome.FAILED, FAILED))
    assert told.outcome is Outcome.PASSED
    assert told.notes == (
        "with allocation 3 failing, the scenario failed and the driver went on: ERROR_NO_SYSTEM_RESOURCES",
    )


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.FAILED])
def test_a_crash_and_a_failure_without_cause_stay(outcome: Outcome) -> None:
    records = (FAILED,) if outcome is Outcome.CRASHED else ()
    assert judged(result(outcome, *records)).outcome is outcome


def test_where_nothing_failed_a_sweep_ends() -> None:
    assert has_failed(result(Outcome.PASSED, FAILED))
    assert not has_failed(result(Outcome.PASSED))

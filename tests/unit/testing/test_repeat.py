"""`--repeat`: one item, several runs, and what is reported of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.outcome import DebugRecord, Outcome, Scenario, ScenarioResult
from harness.testing.plugin import ScenarioRun


class Repeated:
    """A session and an item that keep the values they are given."""

    source_folders = ()
    post_mortem = False

    def __init__(self, *outcomes: Outcome) -> None:
        self._options: dict[str, Any] = {"--winvm-repeat": len(outcomes)}
        self.recorded: list[ScenarioResult] = []
        self.sections: list[str] = []
        self._results = iter(
            ScenarioResult(
                "s.one", "s", outcome, f"run {number}", dbgprint=(DebugRecord(0.0, "d", f"d{number}"),)
            )
            for number, outcome in enumerate(outcomes)
        )

    def option(self, name: str) -> Any:
        return self._options.get(name)

    def plan(self) -> Any:
        return SimpleNamespace(profile=SimpleNamespace(capabilities=frozenset()))

    def bench(self) -> Any:
        return SimpleNamespace(run=lambda scenario: next(self._results))

    def record(self, result: ScenarioResult) -> None:
        self.recorded.append(result)

    def add_report_section(self, when: str, name: str, text: str) -> None:
        self.sections.append(text)

    def check(self) -> None:
        run = ScenarioRun(Scenario("s.one", "s"), cast(Any, self), cast(Any, self))
        run.check()


def test_every_run_is_recorded_and_one_is_shown() -> None:
    session = Repeated(*[Outcome.PASSED] * 5)
    session.check()
    assert len(session.recorded) == 5
    assert session.sections == ["d0"]


def test_the_first_run_that_does_not_pass_is_reported() -> None:
    session = Repeated(Outcome.PASSED, Outcome.FAILED, Outcome.PASSED, Outcome.HUNG)
    with pytest.raises(pytest.fail.Exception, match="2 of 4 runs did not pass") as failed:
        session.check()
    assert "failed: run 1" in str(failed.value)
    assert len(session.recorded) == 4
    assert session.sections == ["d1"]


def test_a_single_run_is_reported_as_it_is() -> None:
    with pytest.raises(pytest.fail.Exception) as failed:
        Repeated(Outcome.CRASHED).check()
    assert str(failed.value) == "crashed: run 0"


def test_a_scenario_that_skips_itself_is_skipped() -> None:
    with pytest.raises(pytest.skip.Exception, match="run 0"):
        Repeated(Outcome.SKIPPED, Outcome.SKIPPED).check()


def test_a_known_difference_fails_nothing_and_is_marked() -> None:
    with pytest.raises(pytest.xfail.Exception, match="run 0"):
        Repeated(Outcome.DIFFERS, Outcome.PASSED).check()
    with pytest.raises(pytest.fail.Exception, match="failed: run 1"):
        Repeated(Outcome.DIFFERS, Outcome.FAILED).check()

"""Which scenarios `--winvm-last-failed` runs: what did not pass when it last ran with the same builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host.resources import vm_folder
from harness.outcome import Outcome, Scenario
from harness.project.config import Config
from harness.project.profiles import load_profile
from harness.report.digest import digest
from harness.report.history import History, cell
from harness.report.recorded import RecordedRun
from harness.run.plan import Plan
from harness.testing.chosen import chosen, failed_before
from tests.fakes.recorded_runs import STARTED, result, write_run

NAMES = ("a.one", "a.two", "a.three")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    scenarios = tuple(Scenario(name, "a") for name in NAMES)
    profile = load_profile(vm_folder() / "profiles" / "wine.toml")
    return Plan(Config(root=tmp_path), profile, tmp_path / "agent.pyz", scenarios, {})


def ran(plan: Plan, number: int, outcomes: dict[str, Outcome], builds: tuple[str, ...] = ()) -> None:
    folder = plan.config.artifacts_folder
    run = f"20261121-{number:02d}0000-{number:06x}"
    results = [result(name, outcome) for name, outcome in outcomes.items()]
    path = write_run(folder, run, results, started=STARTED + number, cell=cell("wine", builds))
    with History(folder) as history:
        history.record(digest(RecordedRun(path)))


def again(plan: Plan, builds: tuple[str, ...] = ()) -> tuple[list[str], str]:
    found, said = failed_before(plan.scenarios, plan, builds, [])
    return [one.name for one in found], said


def test_what_failed_runs_again_also_after_a_run_of_something_else(plan: Plan) -> None:
    ran(plan, 1, {"a.one": Outcome.FAILED, "a.two": Outcome.CRASHED, "a.three": Outcome.SKIPPED})
    ran(plan, 2, {"a.one": Outcome.PASSED})
    assert again(plan) == (["a.two"], "winvm: 1 of 3 did not pass when they last ran.")


def test_runs_of_other_builds_do_not_count(plan: Plan) -> None:
    ran(plan, 1, {"a.one": Outcome.FAILED}, ("checked",))
    assert again(plan)[0] == list(NAMES)
    assert again(plan, ("checked",))[0] == ["a.one"]


def test_all_run_where_nothing_failed_or_nothing_ever_ran(plan: Plan) -> None:
    said = "winvm: nothing failed when it last ran, so every chosen scenario runs."
    assert again(plan) == (list(NAMES), said)
    ran(plan, 1, dict.fromkeys(NAMES, Outcome.PASSED))
    assert again(plan) == (list(NAMES), said)


def test_without_words_every_scenario_is_chosen(plan: Plan) -> None:
    assert chosen(plan, ()) == plan.scenarios
    assert [one.name for one in chosen(plan, ["a.t*"])] == ["a.two", "a.three"]

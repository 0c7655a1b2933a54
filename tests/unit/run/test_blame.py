"""Which scenario a crash is blamed on when it comes before the running one has issued anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from harness.agent.session import ScenarioCrash
from harness.outcome import CrashExpectation, KernelCrash, Outcome
from harness.run.bench import Bench
from harness.run.blame import presumption
from tests.fakes.agent import FakeAgent
from tests.fakes.debug import FakeLogStream
from tests.fakes.guest import FakeLink
from tests.unit.run.test_bench import Setup, connected, make, scenario

__all__ = ["make"]


def sleeper(make: Callable[..., Setup], *, issued: bool, loaded: bool = False) -> Bench:
    """A bench on which s.guilty has passed, and the guest breaks down while s.sleeps runs."""
    setups: list[Setup] = []

    def write(run: int, name: str) -> None:
        entry = {"n": run, "run": run, "scenario": name, "op": "ReadFile", "detail": "Dev 4"}
        with setups[0].machine.channels.journal.open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def script(agent: FakeAgent, link: FakeLink) -> None:
        def works(command: dict[str, Any]) -> None:
            write(command["id"], "s.guilty")
            agent.finish(command)

        def sleeps(command: dict[str, Any]) -> None:
            if loaded:
                write(0, "")
            if issued:
                write(command["id"], "s.sleeps")
            setups[0].guest.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)

        agent.when("s.guilty", works)
        agent.when("s.sleeps", sleeps)

    setups.append(make(script))
    bench = connected(setups[0])
    assert bench.run(scenario("s.guilty")).outcome is Outcome.PASSED
    return bench


@pytest.mark.parametrize(("issued", "blamed"), [(False, "s.guilty"), (True, "s.sleeps")])
def test_a_crash_before_the_first_operation_is_blamed_on_the_scenario_before(
    make: Callable[..., Setup], issued: bool, blamed: str
) -> None:
    result = sleeper(make, issued=issued).run(scenario("s.sleeps"))
    assert result.outcome is Outcome.CRASHED
    assert result.crash
    assert result.crash.scenario == blamed
    interrupted = "Ended before its first operation: presumably s.guilty took the driver down after its"
    assert result.message.startswith(interrupted) != issued


@pytest.mark.parametrize(("issued", "outcome"), [(False, Outcome.CRASHED), (True, Outcome.PASSED)])
def test_a_crash_before_the_first_operation_is_not_the_expected_one(
    make: Callable[..., Setup], issued: bool, outcome: Outcome
) -> None:
    """The scenario before it may have left a timer behind, whose crash is just like the expected one."""
    expecting = scenario("s.sleeps", expect_crash=CrashExpectation(bugcheck=0xE2))
    result = sleeper(make, issued=issued).run(expecting)
    assert result.outcome is outcome
    assert result.crash
    assert result.crash.scenario == ("s.sleeps" if issued else "s.guilty")


@pytest.mark.parametrize("issued", [False, True])
def test_a_driver_that_was_loaded_anew_is_no_operation_of_the_scenario_either(
    make: Callable[..., Setup], issued: bool
) -> None:
    expecting = scenario("s.sleeps", expect_crash=CrashExpectation(bugcheck=0xE2))
    result = sleeper(make, issued=issued, loaded=True).run(expecting)
    assert result.outcome is (Outcome.PASSED if issued else Outcome.CRASHED)
    assert ("had issued no operation yet" in result.message) is not issued


@pytest.mark.parametrize("quiet", [True, False])
def test_a_crash_while_nothing_was_under_way_is_presumed_to_be_another_s(
    make: Callable[..., Setup], quiet: bool
) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def sleeps(command: dict[str, Any]) -> None:
            agent.underway = ""
            agent.returned = time.monotonic() - 2.0 if quiet else None
            agent.driver_runs = False
            agent.debug.break_down("exception", 0xC0000005)

        agent.when("s.sleeps", sleeps)

    setup = make(script)
    setup.guest.debug = FakeLogStream()
    setup.bench = setup.new_bench()
    bench = connected(setup)
    for name in ("s.arms", "s.idles"):
        assert bench.run(scenario(name)).outcome is Outcome.PASSED
    result = bench.run(scenario("s.sleeps"))
    assert (result.outcome, result.crash and result.crash.scenario) == (Outcome.CRASHED, "s.sleeps")
    said = (
        "No operation of s.sleeps was under way: presumably an earlier scenario's (s.idles, s.arms) or its "
        "own timer, DPC or work item."
    )
    assert result.message.startswith(said) == quiet
    assert result.crash
    assert result.crash.cause.endswith(said) == quiet
    assert (said in result.crash.notes) == quiet


def test_an_only_scenario_s_crash_is_its_own() -> None:
    report = KernelCrash("exception", 0xC0000005, (), time=0.0)
    said = presumption(ScenarioCrash(report, "s.one", quiet=True), scenario("s.one"), ())
    assert said == "No operation of s.one was under way: presumably its own timer, DPC or work item."
    assert presumption(ScenarioCrash(report, "s.one"), scenario("s.one"), ("s.two",)) == ""
    many = presumption(ScenarioCrash(report, "s.one", quiet=True), scenario("s.one"), tuple("abcdef"))
    assert "(a, b, c, d or one before)" in many

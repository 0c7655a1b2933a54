"""The driver is unloaded at the end of a run; its crash or hang there is a result of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.outcome import Outcome
from harness.run.ending import finish
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.run.test_bench import Script, Setup, agent_of, connected, make, scenario

__all__ = ["make"]


def unloading(reaction: Callable[[FakeAgent], object]) -> Script:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def answer(command: dict[str, Any]) -> None:
            reaction(agent)

        agent.when("unload", answer)

    return script


def refuses(code: int, message: str) -> Script:
    return unloading(lambda agent: agent.say("unloaded", ok=False, error_code=code, message=message))


def test_a_run_ends_with_the_driver_unloaded(make: Callable[..., Setup]) -> None:
    setup = make()
    bench = connected(setup)
    agent = agent_of(setup)
    finish(bench, setup.artifacts)
    assert "unload" in [command["cmd"] for command in agent.commands]
    assert setup.artifacts.counts == {}


@pytest.mark.parametrize(
    ("script", "outcome", "said"),
    [
        (
            unloading(lambda agent: agent.debug.break_down("bugcheck", 0xCE, 0, 0, 0, 0)),
            Outcome.CRASHED,
            "crashed while it was unloaded: bugcheck 0x000000ce",
        ),
        (
            refuses(1053, "ControlService(drv, stop): ERROR_SERVICE_REQUEST_TIMEOUT (1053): No answer."),
            Outcome.HUNG,
            "DriverUnload did not return: Windows waited in vain",
        ),
    ],
)
def test_a_driver_that_goes_down_as_it_is_unloaded_is_a_result(
    make: Callable[..., Setup], script: Script, outcome: Outcome, said: str
) -> None:
    setup = make(script)
    bench = connected(setup)
    (result,) = finish(bench, setup.artifacts)
    assert said in result.message
    assert (result.name, result.build, result.outcome) == ("driver.unload", "release", outcome)
    assert setup.artifacts.counts == {outcome: 1}
    assert bench.crashes.last
    assert bench.crashes.last.scenario == "unloaded"


def test_a_driver_without_an_unload_routine_is_no_failure(make: Callable[..., Setup]) -> None:
    setup = make(refuses(1052, "ControlService(drv, stop): ERROR_INVALID_SERVICE_CONTROL (1052): No."))
    bench = connected(setup)
    assert finish(bench, setup.artifacts) == []
    assert setup.artifacts.counts == {}


def test_an_interrupted_run_ends_at_once(make: Callable[..., Setup]) -> None:
    setup = make()
    bench = connected(setup)
    agent = agent_of(setup)
    finish(bench, setup.artifacts, unload=False)
    assert "unload" not in [command["cmd"] for command in agent.commands]


def test_the_next_build_is_not_blamed_for_the_unload_routine_of_the_one_before(
    make: Callable[..., Setup],
) -> None:
    setup = make(unloading(lambda agent: agent.debug.break_down("bugcheck", 0xCE, 0, 0, 0, 0)))
    bench = connected(setup)
    assert bench.run(scenario("s.one")).outcome is Outcome.PASSED
    assert bench.run(scenario("s.two", build="fault")).outcome is Outcome.PASSED
    (result, _) = finish(bench, setup.artifacts)
    assert (result.name, result.build, result.outcome) == ("driver.unload", "release", Outcome.CRASHED)
    assert "crashed while it was unloaded: bugcheck 0x000000ce" in result.message
    assert setup.artifacts.counts == {Outcome.CRASHED: 2}

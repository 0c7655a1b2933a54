"""Which scenario a crash is blamed on when it comes before the running one has issued anything."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from harness.outcome import Outcome
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.run.test_bench import Setup, connected, make, scenario

__all__ = ["make"]


@pytest.mark.parametrize(("issued", "blamed"), [(False, "s.guilty"), (True, "s.sleeps")])
def test_a_crash_before_the_first_operation_is_blamed_on_the_scenario_before(
    make: Callable[..., Setup], issued: bool, blamed: str
) -> None:
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
            if issued:
                write(command["id"], "s.sleeps")
            setups[0].guest.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)

        agent.when("s.guilty", works)
        agent.when("s.sleeps", sleeps)

    setups.append(make(script))
    bench = connected(setups[0])
    assert bench.run(scenario("s.guilty")).outcome is Outcome.PASSED
    result = bench.run(scenario("s.sleeps"))
    assert result.outcome is Outcome.CRASHED
    assert result.crash
    assert result.crash.scenario == blamed
    interrupted = "Ended before its first operation: presumably s.guilty took the driver down after its"
    assert result.message.startswith(interrupted) != issued

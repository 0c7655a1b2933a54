"""Guests lost without a crash: the cause is named, the logs are kept, the next scenario runs."""

from __future__ import annotations

from collections.abc import Callable

from harness.outcome import Outcome
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.run.test_bench import Setup, connected, make, scenario

__all__ = ["make"]


def test_a_machine_that_the_host_stopped_is_lost_with_its_cause_and_logs(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.one", lambda command: setattr(setup.machine, "troubled", "The disk is full."))

    setup = make(script)
    bench = connected(setup)
    lost = bench.run(scenario(deadline_s=30.0))
    assert lost.outcome is Outcome.LOST
    assert lost.message.startswith("The disk is full.")
    assert lost.notes == ("The logs of the lost guest and its QEMU are in lost/01-s.one.",)
    kept = setup.artifacts.path / "lost" / "01-s.one"
    assert {file.name for file in kept.iterdir()} == {"qemu.log", "console.log", "journal.jsonl"}
    assert "terminating" in (kept / "qemu.log").read_text()
    assert bench.run(scenario("s.two")).outcome is Outcome.PASSED


def test_a_scenario_that_spins_is_its_own_fault_and_the_next_one_runs(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.underway = ""
        agent.when("s.one", lambda command: None)

    bench = connected(make(script))
    spun = bench.run(scenario(deadline_s=0.3))
    assert (spun.outcome, spun.crash) == (Outcome.ERROR, None)
    assert "did not end within 0.3 s, with no operation under way: it is at s.py:3 in one" in spun.message
    assert bench.run(scenario("s.two")).outcome is Outcome.PASSED

"""What is no crash of a scenario: a lost guest, a spinning scenario, DriverEntry, a limit of Wine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.errors import DriverCrashError
from harness.outcome import KernelCrash, Outcome, exit_code
from harness.project.profile import Hang
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.run.test_bench import Setup, connected, make, scenario

__all__ = ["make"]


@pytest.fixture(autouse=True)
def no_minidump_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake guest writes none."""
    monkeypatch.setattr("harness.crash.dump_source.GuestMinidump.seconds", 0.5)


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


def test_a_scenario_that_loops_over_calls_that_return_is_no_hang_of_the_driver(
    make: Callable[..., Setup],
) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def looks(command: dict[str, Any]) -> None:
            agent.say("looked", id=command["id"], operation="WriteFile Device", seconds=0.0, where="s.py:3")

        agent.when("s.one", lambda command: None)
        agent.when("look", looks)

    looped = connected(make(script)).run(scenario(deadline_s=0.3))
    assert (looped.outcome, looped.crash) == (Outcome.ERROR, None)
    assert "with only WriteFile Device, just begun, under way: it is at s.py:3" in looped.message


def crashing_load(agent: FakeAgent, link: FakeLink) -> None:
    def down(command: dict[str, Any]) -> None:
        agent.debug.break_down("exception", 0xC0000005, 0xC0000005, 0x10, 0, 1)

    agent.when("load", down)


def test_a_crash_in_driver_entry_is_one_result_and_tried_once(make: Callable[..., Setup]) -> None:
    setup = make(crashing_load)
    with pytest.raises(DriverCrashError, match="crashed while it was loaded") as caught:
        setup.bench.connect("release")
    assert caught.value.exit_code == 4
    first, second = (setup.bench.run(scenario(name)) for name in ("s.one", "s.two"))
    assert first.outcome is Outcome.CRASHED
    assert first.crash is not None
    assert first.crash.scenario == "loaded"
    assert "wrote to" in first.detail
    assert (second.outcome, second.crash) == (Outcome.ERROR, None)
    assert second.message.startswith("Not run: build release crashed in its DriverEntry")
    loads = [c for link in setup.guest.links for c in link.scripted.commands if c["cmd"] == "load"]
    assert len(loads) == 1
    assert exit_code({first.outcome: 1, second.outcome: 1}) == 4


def test_an_endless_driver_entry_says_so(make: Callable[..., Setup], monkeypatch: pytest.MonkeyPatch) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.underway = "StartService drv"
        agent.when("load", lambda command: None)

    monkeypatch.setattr("harness.run.guest_session.LOAD_DEADLINE_S", 0.3)
    setup = make(script, hang=Hang(break_in=0, nmi=0, screenshot=1))
    with pytest.raises(
        DriverCrashError, match=r"DriverEntry did not return: .*StartService drv has not returned"
    ):
        setup.bench.connect("release")
    assert setup.bench.run(scenario()).outcome is Outcome.HUNG


def test_a_routine_that_wine_lacks_is_not_shown_here_and_no_crash(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def calls(command: dict[str, Any]) -> None:
            text = "wine: Unimplemented function ntoskrnl.exe.CcFlushCache called at address 0000000000ABCDEF"
            agent.debug._crash = KernelCrash("exception", 0x80000100, (0x80000100, 0xABCDEF), 1.0, text)

        agent.when("s.one", calls)

    bench = connected(make(script))
    result = bench.run(scenario())
    assert (result.outcome, result.crash) == (Outcome.SKIPPED, None)
    assert result.message.startswith(
        "Not shown on this guest: the driver called ntoskrnl.exe.CcFlushCache, which Wine does not implement."
    )
    assert bench.run(scenario("s.two")).outcome is Outcome.PASSED


def test_a_dbgprint_that_is_too_long_for_wine_is_not_shown_here(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def prints(command: dict[str, Any]) -> None:
            agent.debug.say("0120:0130:err:thread:append_output debug buffer overflow:", "wine")
            agent.debug.break_down("exception", 0x80000005, 0x80000005, 0x10)

        agent.when("s.one", prints)

    result = connected(make(script)).run(scenario())
    assert result.outcome is Outcome.SKIPPED
    assert "one DbgPrint had 1,000 bytes or more" in result.message

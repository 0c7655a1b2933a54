"""A driver's service that was asked to stop and does not: what is told of its crash, and of a hang."""

from __future__ import annotations

import time
from typing import Any

import pytest

from harness.agent.conversation import Stuck
from harness.agent.protocol import Finished
from harness.agent.session import AgentSession, ScenarioCrash
from tests.fakes import FakeAgent
from tests.fakes.debug import FakeLogStream
from tests.unit.agent.test_conversation import doubting, logged, witness
from tests.unit.agent.test_session import soon

__all__ = ["doubting", "logged", "witness"]


@pytest.mark.parametrize("outcome", ["error", "passed"])
def test_a_crash_is_believed_when_the_stop_that_it_came_in_does_not_end(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream, outcome: str
) -> None:
    """As Wine does: winedevice.exe has died in DriverUnload, and its service stays STOP_PENDING."""

    def stops(command: dict[str, Any]) -> None:
        logged.break_down("exception", 0xC0000005)
        witness.driver_runs, witness.stopping = True, 5.2
        witness.finish(command, outcome, stopping=12.0)

    witness.when("life.stops", stops)
    ended = doubting.run(1, "life.stops", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert (ended.report.kind, ended.scenario) == ("exception", "life.stops")


def test_a_crash_is_believed_while_the_scenario_goes_on_after_its_stop(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def goes_on(command: dict[str, Any]) -> None:
        logged.break_down("exception", 0xC0000005)
        witness.driver_runs, witness.stopping = True, 5.2

    witness.when("life.stops", goes_on)
    started = time.monotonic()
    ended = doubting.run(1, "life.stops", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "exception"
    assert time.monotonic() - started < 5


def test_a_printed_crash_is_not_believed_of_a_stop_that_has_just_begun(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def stops(command: dict[str, Any]) -> None:
        logged.break_down("exception", 0xC0000005)
        witness.driver_runs, witness.stopping = True, 0.4
        witness.finish(command)

    witness.when("life.stops", stops)
    ended = doubting.run(1, "life.stops", soon(30))
    assert isinstance(ended, Finished)
    assert "there was none" in ended.notes[-1]


@pytest.mark.parametrize("outcome", ["error", "passed"])
def test_a_stop_that_does_not_end_is_a_hang_however_the_scenario_ended(
    doubting: AgentSession, witness: FakeAgent, outcome: str
) -> None:
    witness.when("life.stops", lambda command: witness.finish(command, outcome, stopping=20.5))
    ended = doubting.run(1, "life.stops", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "hang"
    assert "has not stopped 20.5 s after ControlService asked it to" in ended.report.text


def test_a_stop_that_does_not_end_is_a_hang_at_the_deadline(
    doubting: AgentSession, witness: FakeAgent
) -> None:
    witness.driver_runs, witness.stopping = True, 10.3
    witness.when("life.stops", lambda _command: None)
    ended = doubting.run(1, "life.stops", soon(0.3))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "hang"
    assert "within 0.3 s: the driver's service has not stopped 10.3 s after" in ended.report.text


def test_a_driver_that_the_scenario_still_uses_is_not_to_blame_for_not_stopping(
    doubting: AgentSession, witness: FakeAgent
) -> None:
    """Windows unloads a driver when the last handle to its devices is closed."""
    witness.driver_runs, witness.stopping, witness.holds = True, 10.3, True
    witness.when("life.stops", lambda _command: None)
    assert isinstance(doubting.run(1, "life.stops", soon(0.3)), Stuck)


@pytest.mark.parametrize(("before_s", "quiet"), [(2.0, True), (0.0, False), (None, False)])
def test_a_crash_after_the_last_operation_has_returned_is_told_as_such(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream, before_s: float | None, quiet: bool
) -> None:
    def crashes(command: dict[str, Any]) -> None:
        witness.returned = None if before_s is None else time.monotonic() - before_s
        witness.driver_runs = False
        logged.break_down("exception", 0xC0000005)

    witness.when("s.one", crashes)
    ended = doubting.run(1, "s.one", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert ended.quiet == quiet

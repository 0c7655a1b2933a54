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


Ended = Finished | ScenarioCrash | Stuck


def crashes_in_stop(
    session: AgentSession,
    agent: FakeAgent,
    log: FakeLogStream,
    asked_s: float,
    outcome: str = "",
    **more: Any,
) -> Ended:
    """As Wine does: winedevice.exe has died in DriverUnload, and its service stays STOP_PENDING.

    asked_s: seconds since the stop. outcome: of the scenario; empty while it goes on.
    """

    def stops(command: dict[str, Any]) -> None:
        log.break_down("exception", 0xC0000005)
        agent.driver_runs, agent.stopping = True, asked_s
        if outcome:
            agent.finish(command, outcome, **more)

    agent.when("life.stops", stops)
    return session.run(1, "life.stops", soon(30))


def never_stops(session: AgentSession, agent: FakeAgent, *, holds: bool = False) -> Ended:
    """The driver's service is STOP_PENDING at the scenario's deadline."""
    agent.driver_runs, agent.stopping, agent.holds = True, 10.3, holds
    agent.when("life.stops", lambda _command: None)
    return session.run(1, "life.stops", soon(0.3))


@pytest.mark.parametrize("outcome", ["error", "passed"])
def test_a_crash_is_believed_when_the_stop_that_it_came_in_does_not_end(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream, outcome: str
) -> None:
    ended = crashes_in_stop(doubting, witness, logged, 5.2, outcome, stopping=12.0)
    assert isinstance(ended, ScenarioCrash)
    assert (ended.report.kind, ended.scenario) == ("exception", "life.stops")


def test_a_crash_is_believed_while_the_scenario_goes_on_after_its_stop(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    started = time.monotonic()
    ended = crashes_in_stop(doubting, witness, logged, 5.2)
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "exception"
    assert time.monotonic() - started < 5


def test_a_printed_crash_is_not_believed_of_a_stop_that_has_just_begun(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    ended = crashes_in_stop(doubting, witness, logged, 0.4, "passed")
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
    ended = never_stops(doubting, witness)
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "hang"
    assert "within 0.3 s: the driver's service has not stopped 10.3 s after" in ended.report.text


def test_a_driver_that_the_scenario_still_uses_is_not_to_blame_for_not_stopping(
    doubting: AgentSession, witness: FakeAgent
) -> None:
    """Windows unloads a driver when the last handle to its devices is closed."""
    assert isinstance(never_stops(doubting, witness, holds=True), Stuck)


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

"""What ends the wait for an answer but the answer: printed crashes, spinning scenarios, stopped machines."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from harness.agent.conversation import Conversation, Stuck, no_trouble
from harness.agent.lines import AgentLines
from harness.agent.protocol import Finished, Loaded
from harness.agent.session import AgentSession, Debugging, ScenarioCrash
from harness.deadline import Deadline
from harness.errors import AgentError, MachineError
from tests.fakes import FakeAgent, FakeDebugStream
from tests.fakes.debug import FakeLogStream
from tests.unit.agent.test_session import SYS, agent, debug, session, soon

__all__ = ["agent", "debug", "session"]


@pytest.fixture
def logged() -> FakeLogStream:
    return FakeLogStream()


@pytest.fixture
def witness(logged: FakeLogStream) -> FakeAgent:
    return FakeAgent(logged)


@pytest.fixture
def doubting(
    witness: FakeAgent, logged: FakeLogStream, monkeypatch: pytest.MonkeyPatch
) -> Iterator[AgentSession]:
    """A session whose debug stream is a log; a driver has half a second to die, and no call is under way."""
    witness.underway = ""
    monkeypatch.setattr("harness.agent.conversation.DYING_S", {"bugcheck": 0.5, "exception": 0.5})
    session = AgentSession(witness.process, logged, logged.nonce, Deadline.after(60))
    yield session
    session.close()


def test_a_printed_crash_of_a_driver_that_runs_on_is_not_believed(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def prints(command: dict[str, object]) -> None:
        logged.break_down("bugcheck", 0xEB)
        time.sleep(0.6)
        witness.finish(command)

    witness.driver_runs = True
    witness.when("ioctl.set", prints)
    ended = doubting.run(1, "ioctl.set", soon())
    assert isinstance(ended, Finished)
    assert ended.outcome == "passed"
    assert "still runs, so there was none: 'bugcheck 0xeb'" in ended.notes[-1]
    assert logged.crash() is None
    assert isinstance(doubting.run(2, "ioctl.get", soon()), Finished)


def test_a_printed_crash_is_believed_once_the_service_has_ended(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def dies(command: dict[str, object]) -> None:
        witness.driver_runs = False
        logged.break_down("exception", 0xC0000005)

    witness.when("ioctl.set", dies)
    started = time.monotonic()
    ended = doubting.run(1, "ioctl.set", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "exception"
    assert time.monotonic() - started < 2


def test_a_crash_is_believed_though_the_scenario_started_the_driver_again(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def dies_and_restarts(command: dict[str, object]) -> None:
        logged.break_down("bugcheck", 0xE2)
        logged.loaded = True
        witness.finish(command)

    witness.driver_runs = True
    witness.when("ioctl.set", dies_and_restarts)
    ended = doubting.run(1, "ioctl.set", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.code == 0xE2


def test_a_driver_that_was_loaded_again_needs_no_look(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def dies_and_restarts(command: dict[str, object]) -> None:
        logged.break_down("bugcheck", 0xE2)
        logged.loaded = True

    witness.driver_runs = True
    witness.when("ioctl.set", dies_and_restarts)
    started = time.monotonic()
    assert isinstance(doubting.run(1, "ioctl.set", soon(30)), ScenarioCrash)
    assert time.monotonic() - started < 2


def test_a_crash_is_believed_when_the_call_never_returns_and_the_service_cannot_end(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def looks(command: dict[str, object]) -> None:
        witness.say(
            "looked", id=command["id"], driver_runs=True, operation="DeviceIoControl Device", seconds=3.0
        )

    def dies(command: dict[str, object]) -> None:
        logged.break_down("exception", 0xC0000005)

    witness.when("ioctl.set", dies)
    witness.when("look", looks)
    ended = doubting.run(1, "ioctl.set", soon(0.5))
    assert isinstance(ended, ScenarioCrash)
    assert (ended.report.kind, ended.report.code) == ("exception", 0xC0000005)


def test_a_thread_that_used_up_its_stack_is_not_waited_for_as_for_a_dump(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.conversation.DYING_S", {"bugcheck": 0.5, "exception": 60.0})

    def looks(command: dict[str, object]) -> None:
        witness.say("looked", id=command["id"], driver_runs=True, operation="ReadFile Device", seconds=3.0)

    def overflows(command: dict[str, object]) -> None:
        logged.break_down("exception", 0xC00000FD)

    witness.when("ioctl.set", overflows)
    witness.when("look", looks)
    started = time.monotonic()
    assert isinstance(doubting.run(1, "ioctl.set", soon(0.5)), ScenarioCrash)
    assert time.monotonic() - started < 10


def test_a_printed_crash_is_believed_when_no_agent_is_left_to_ask(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def dies(command: dict[str, object]) -> None:
        logged.break_down("exception", 0xC0000005)
        witness.process.end(1)

    witness.when("ioctl.set", dies)
    assert isinstance(doubting.run(1, "ioctl.set", soon(30)), ScenarioCrash)


def test_a_printed_crash_in_a_load_that_succeeds_is_not_believed(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def prints(command: dict[str, object]) -> None:
        logged.break_down("bugcheck", 0xEB)
        witness.say("loaded", ok=True, seconds=0.1)

    witness.driver_runs = True
    witness.when("load", prints)
    assert isinstance(doubting.load("winvm", SYS, None, soon()), Loaded)


def test_a_scenario_that_runs_its_own_code_for_ever_is_stuck(session: AgentSession, agent: FakeAgent) -> None:
    agent.underway = ""
    agent.when("ioctl.set", lambda command: None)
    assert session.run(1, "ioctl.set", soon(0.2)) == Stuck("s.py:3 in one", "")


def test_a_call_that_does_not_return_is_a_hang_and_named(session: AgentSession, agent: FakeAgent) -> None:
    agent.when("ioctl.set", lambda command: None)
    ended = session.run(1, "ioctl.set", soon(0.2))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "hang"
    assert "DeviceIoControl Device code=0x222003 has not returned after 1.5 s" in ended.report.text


def test_a_loop_of_calls_that_all_return_is_stuck_and_no_hang(
    session: AgentSession, agent: FakeAgent
) -> None:
    def looks(command: dict[str, object]) -> None:
        agent.say("looked", id=command["id"], operation=agent.underway, seconds=0.0, where="s.py:3 in one")

    agent.when("ioctl.set", lambda command: None)
    agent.when("look", looks)
    assert session.run(1, "ioctl.set", soon(0.2)) == Stuck("s.py:3 in one", "", agent.underway)


def test_a_call_that_was_young_at_the_deadline_and_stays_is_a_hang(
    session: AgentSession, agent: FakeAgent
) -> None:
    def begins(command: dict[str, object]) -> None:
        agent.began = time.monotonic()

    agent.when("ioctl.set", begins)
    ended = session.run(1, "ioctl.set", soon(0.2))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "hang"
    assert "DeviceIoControl Device code=0x222003 has not returned after 1." in ended.report.text


def test_an_answer_that_came_right_after_the_deadline_counts(session: AgentSession, agent: FakeAgent) -> None:
    def late(command: dict[str, object]) -> None:
        agent.began = time.monotonic()
        threading.Timer(0.6, agent.finish, [command]).start()

    agent.when("ioctl.set", late)
    assert isinstance(session.run(1, "ioctl.set", soon(0.2)), Finished)


def test_an_agent_that_answers_nothing_is_a_hang(
    session: AgentSession, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.conversation.LOOK_S", 0.2)
    for command in ("ioctl.set", "look"):
        agent.when(command, lambda command: None)
    ended = session.run(1, "ioctl.set", soon(0.2))
    assert isinstance(ended, ScenarioCrash)
    assert "its agent does not answer" in ended.report.text


def test_a_machine_that_the_host_stopped_is_no_hang(agent: FakeAgent, debug: FakeDebugStream) -> None:
    session = AgentSession(
        agent.process, debug, debug.nonce, Deadline.after(60), lambda: "No space left on device."
    )
    agent.when("ioctl.set", lambda command: None)
    started = time.monotonic()
    with pytest.raises(MachineError, match="No space left on device"):
        session.run(1, "ioctl.set", soon(30))
    assert time.monotonic() - started < 5
    session.close()


@pytest.mark.parametrize("flood", [("standby", {}), ("looked", {"id": 99})], ids=["standby", "looked"])
def test_a_flood_of_idle_events_puts_no_check_off(
    agent: FakeAgent, debug: FakeDebugStream, flood: tuple[str, dict[str, int]]
) -> None:
    event, fields = flood
    session = AgentSession(
        agent.process, debug, debug.nonce, Deadline.after(60), lambda: "No space left on device."
    )
    over = threading.Event()

    def floods() -> None:
        while not over.wait(0.001):
            agent.say(event, **fields)

    thread = threading.Thread(target=floods, daemon=True)
    agent.when("ioctl.set", lambda command: thread.start())
    started = time.monotonic()
    with pytest.raises(MachineError, match="No space left on device"):
        session.run(1, "ioctl.set", soon(30))
    assert time.monotonic() - started < 5
    over.set()
    thread.join(5)
    session.close()


@pytest.mark.parametrize("event", ["standby", "loaded"])
def test_events_during_looks_are_not_kept_without_a_limit(
    witness: FakeAgent, logged: FakeLogStream, event: str
) -> None:
    """Each look of a doubted crash brings 40 events; a driver that runs on is looked at often."""
    lines = AgentLines(witness.process, Deadline.after(60))
    conversation = Conversation(lines, logged, no_trouble)
    fields = {"ok": True} if event == "loaded" else {}

    def answers(command: dict[str, object]) -> None:
        for _ in range(40):
            witness.say(event, **fields)
        witness.say("looked", id=command["id"], driver_runs=True)

    witness.when("look", answers)
    assert conversation.look(soon(), driver=True) is not None
    if event == "loaded":
        with pytest.raises(AgentError, match="more than 64 events that nothing asked for"):
            conversation.look(soon(), driver=True)
    else:
        assert conversation.look(soon(), driver=True) is not None
        assert isinstance(conversation.ask(Loaded, soon(), "load", "load"), Loaded)
    lines.close()


def test_a_prompt_is_answered_and_its_time_does_not_count(agent: FakeAgent, session: AgentSession) -> None:
    asked: list[str] = []

    def thinks(text: str) -> str:
        asked.append(text)
        time.sleep(0.5)
        return "continue\n"

    def stops(command: dict[str, object]) -> None:
        assert (command["debugger"], command["post_mortem"]) == (True, True)
        agent.say("prompt", text="(Pdb) ")

    agent.when("ioctl.set", stops)
    agent.when(
        "line", lambda command: agent.finish({"id": 1, "scenario": "ioctl.set"}, notes=[command["text"]])
    )
    ended = session.run(1, "ioctl.set", soon(0.4), debugging=Debugging(thinks, post_mortem=True))
    assert isinstance(ended, Finished)
    assert (asked, ended.notes) == (["(Pdb) "], ["continue\n"])


def test_a_prompt_that_nobody_asked_for_ends_the_session(agent: FakeAgent, session: AgentSession) -> None:
    agent.when("ioctl.set", lambda command: agent.say("prompt", text="password: "))
    with pytest.raises(AgentError, match="unexpected event 'prompt'"):
        session.run(1, "ioctl.set", soon())


def test_what_a_scenario_noted_before_a_crash_is_kept(
    doubting: AgentSession, witness: FakeAgent, logged: FakeLogStream
) -> None:
    def dies(command: dict[str, object]) -> None:
        witness.driver_runs, witness.notes = False, ["sent 3 requests"]
        logged.break_down("exception", 0xC0000005)

    witness.when("ioctl.set", dies)
    ended = doubting.run(1, "ioctl.set", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert ended.notes == ("sent 3 requests",)

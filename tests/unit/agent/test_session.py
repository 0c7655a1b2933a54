"""The agent's session: answers, and every race between answer, crash, lost connection and deadline."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from harness.agent.protocol import LINE_LIMIT, Finished, Loaded
from harness.agent.session import AgentSession, ScenarioCrash, start_agent
from harness.deadline import Deadline
from harness.errors import AgentError, ContractError, DeadlineError, DriverLoadError
from harness.outcome import KernelCrash
from tests.fakes import FakeAgent, FakeDebugStream

SYS = r"C:\winvm\run\release\winvm.sys"


@pytest.fixture
def debug() -> FakeDebugStream:
    return FakeDebugStream()


@pytest.fixture
def agent(debug: FakeDebugStream) -> FakeAgent:
    return FakeAgent(debug, ["ioctl.set", "ioctl.get"])


@pytest.fixture
def session(agent: FakeAgent, debug: FakeDebugStream) -> Iterator[AgentSession]:
    session = AgentSession(agent.process, debug, debug.nonce, Deadline.after(60))
    yield session
    session.close()


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds)


def hello(session: AgentSession, deadline: Deadline | None = None) -> None:
    session.hello(deadline or soon(), capabilities=["irql"], journal=r"\\.\COM2")


def test_a_run_from_hello_to_quit(session: AgentSession, agent: FakeAgent) -> None:
    ready = session.hello(soon(), capabilities=["irql"], journal=r"\\.\COM2")
    assert ready.scenarios == ["ioctl.set", "ioctl.get"]
    assert isinstance(session.load("winvm", SYS, "contract", soon()), Loaded)
    agent.when("ioctl.set", lambda command: agent.finish(command, "failed", message="4 != 5", operations=3))
    ended = session.run(1, "ioctl.set", soon(), {"n": 2})
    assert isinstance(ended, Finished)
    assert (ended.outcome, ended.message, ended.operations) == ("failed", "4 != 5", 3)
    session.unload("winvm", soon())
    session.quit(soon())

    assert [command["cmd"] for command in agent.commands] == [
        "hello",
        "load",
        "run",
        "unload",
        "quit",
    ]
    assert agent.commands[0]["marker"] == "nonce"
    assert agent.commands[0]["journal"] == r"\\.\COM2"
    assert agent.commands[1] == {"cmd": "load", "service": "winvm", "sys": SYS, "contract": "contract"}
    assert agent.commands[2]["params"] == {"n": 2}
    assert 4 < agent.commands[2]["deadline_s"] <= 5


def test_the_standby_interpreter_becomes_the_agent(agent: FakeAgent) -> None:
    start_agent(agent.process, r"C:\run\agent.pyz", soon())
    assert agent.commands == [{"cmd": "start", "zipapp": r"C:\run\agent.pyz"}]


def test_an_agent_that_cannot_start_is_reported_with_its_output(agent: FakeAgent) -> None:
    def broken(command: object) -> None:
        agent.process.say(b"no such module", "stderr")
        agent.say("fatal", message="ioctl.py:12: import failed")

    agent.when("start", broken)
    with pytest.raises(AgentError, match=r"ioctl\.py:12: import failed") as raised:
        start_agent(agent.process, "agent.pyz", soon())
    assert raised.value.detail == "no such module"


def test_an_agent_that_ends_or_is_silent_at_its_start_is_reported(agent: FakeAgent) -> None:
    agent.when("start", lambda command: None)
    with pytest.raises(DeadlineError, match="did not start within"):
        start_agent(agent.process, "agent.pyz", soon(0.1))
    agent.when("start", lambda command: agent.process.end(3))
    with pytest.raises(AgentError, match="exited with code 0x3"):
        start_agent(agent.process, "agent.pyz", soon())


def test_events_may_arrive_in_pieces_and_with_carriage_returns(
    session: AgentSession, agent: FakeAgent
) -> None:
    def react(command: dict[str, object]) -> None:
        for byte in b'{"event":"unloaded","ok":true}\r\n':
            agent.process.say(bytes([byte]))

    agent.when("unload", react)
    answer = session.unload("winvm", soon())
    assert not isinstance(answer, KernelCrash)
    assert answer.ok


def test_a_crash_ends_the_wait_for_a_blocked_caller(
    session: AgentSession, agent: FakeAgent, debug: FakeDebugStream
) -> None:
    def react(command: dict[str, object]) -> None:
        debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)

    agent.when("ioctl.set", react)
    started = time.monotonic()
    ended = session.run(1, "ioctl.set", soon(30))
    assert isinstance(ended, ScenarioCrash)
    assert (ended.report.kind, ended.report.code, ended.report.parameters) == ("bugcheck", 0xE2, (1, 2, 3, 4))
    assert ended.scenario == "ioctl.set"
    assert time.monotonic() - started < 1


def test_a_crash_wins_over_the_result_that_it_caused(
    session: AgentSession, agent: FakeAgent, debug: FakeDebugStream
) -> None:
    """KeBugCheckEx fails the caller at once: the agent's result may be read before the debug stream."""

    def react(command: dict[str, object]) -> None:
        agent.say("finished", id=command["id"], scenario="ioctl.set", outcome="error", message="error 5")
        time.sleep(0.3)
        debug.break_down()
        debug.mark("end", 1)

    agent.when("ioctl.set", react)
    assert isinstance(session.run(1, "ioctl.set", soon()), ScenarioCrash)


def test_a_driver_that_ended_by_itself_has_crashed(session: AgentSession, agent: FakeAgent) -> None:
    """The debug output has no crash; the service control manager reports the exit code."""
    agent.when("ioctl.set", lambda command: agent.finish(command, driver_exit=1067))
    ended = session.run(1, "ioctl.set", soon(10))
    assert isinstance(ended, ScenarioCrash)
    assert (ended.report.kind, ended.report.code, ended.scenario) == ("ended", 1067, "ioctl.set")
    assert "ended by itself with exit code 1067" in ended.report.text


def test_what_the_debug_output_tells_of_a_dead_driver_comes_first(
    session: AgentSession, agent: FakeAgent, debug: FakeDebugStream
) -> None:
    def react(command: dict[str, object]) -> None:
        agent.finish(command, "error", driver_exit=1067)
        time.sleep(0.3)
        debug.break_down()

    agent.when("ioctl.set", react)
    ended = session.run(1, "ioctl.set", soon(10))
    assert isinstance(ended, ScenarioCrash)
    assert ended.report.kind == "bugcheck"


def test_a_crash_wins_over_the_lost_connection_it_causes(
    session: AgentSession, agent: FakeAgent, debug: FakeDebugStream
) -> None:
    def react(command: dict[str, object]) -> None:
        agent.process.fail()
        time.sleep(0.3)
        debug.break_down()

    agent.when("ioctl.set", react)
    ended = session.run(1, "ioctl.set", soon())
    assert isinstance(ended, ScenarioCrash)
    assert ended.scenario == "ioctl.set"


def test_a_crash_after_a_scenario_is_blamed_on_it(
    session: AgentSession, agent: FakeAgent, debug: FakeDebugStream
) -> None:
    session.run(1, "ioctl.set", soon())
    debug.break_down()
    ended = session.run(2, "ioctl.get", soon())
    assert isinstance(ended, ScenarioCrash)
    assert ended.scenario == "ioctl.set"
    assert "ioctl.get began" in ended.report.notes[-1]
    assert len(agent.commands) == 1


def test_silence_until_the_deadline_is_a_hang(session: AgentSession, agent: FakeAgent) -> None:
    agent.when("ioctl.set", lambda command: agent.say("standby"))
    started = time.monotonic()
    ended = session.run(1, "ioctl.set", soon(0.3))
    assert isinstance(ended, ScenarioCrash)
    assert (ended.report.kind, ended.scenario) == ("hang", "ioctl.set")
    assert 0.25 < time.monotonic() - started < 1.5


def test_a_result_without_its_end_marker_says_so(
    session: AgentSession, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.session.MARKER_GRACE_S", 0.1)
    agent.when(
        "ioctl.set", lambda command: agent.say("finished", id=1, scenario="ioctl.set", outcome="passed")
    )
    ended = session.run(1, "ioctl.set", soon())
    assert isinstance(ended, Finished)
    assert "end marker" in ended.notes[-1]


def test_a_send_that_blocks_does_not_outlast_the_deadline(
    debug: FakeDebugStream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.conversation.LOOK_S", 0.2)
    agent = FakeAgent(debug)
    agent.when("ioctl.set", lambda command: time.sleep(0.8))
    session = AgentSession(agent.process, debug, "nonce", Deadline.after(60))
    started = time.monotonic()
    ended = session.run(1, "ioctl.set", soon(0.2))
    assert isinstance(ended, ScenarioCrash)
    assert time.monotonic() - started < 0.7
    session.close()


def test_an_agent_that_ends_is_an_error_with_its_last_words(
    session: AgentSession, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.conversation.CRASH_GRACE_S", 0.1)

    def react(command: dict[str, object]) -> None:
        agent.process.say(b"Traceback: no memory\n", "stderr")
        agent.process.say(b'{"event":"finis')
        agent.process.end(0xC0000005)

    agent.when("ioctl.set", react)
    with pytest.raises(AgentError, match=r"run ioctl\.set.*0xc0000005.*incomplete.*finis") as caught:
        session.run(1, "ioctl.set", soon())
    assert "no memory" in caught.value.detail
    with pytest.raises(AgentError, match=r"failed to run ioctl\.get: its process exited"):
        session.run(2, "ioctl.get", soon())


def test_a_lost_connection_without_a_crash_is_an_error(
    session: AgentSession, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.conversation.CRASH_GRACE_S", 0.1)
    agent.when("ioctl.set", lambda command: agent.process.fail())
    with pytest.raises(AgentError, match="connection to the guest was reset"):
        session.run(1, "ioctl.set", soon())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"hello from a DLL\x1b[31m", r"hello from a DLL\\x1b\[31m"),
        (b'{"event":"unloaded"}', "unloaded.ok"),
        (b'{"event":"unloaded","ok":1}', "valid boolean"),
        (b'{"event":"reboot"}', "does not match any of the expected tags"),
        (b'{"event":"\\u001b[2J"}', r"Input tag '\\x1b\[2J'"),
        (b"[]", "should be an object"),
        (b"", "not one of its events"),
        (b"\xff\xfe", r"\\\\xff\\\\xfe"),
        (b'{"event":"unloaded","ok":true,"seconds":NaN}', "NaN"),
        (
            b'{"event":"ready","protocol":1,"python":"3","pid":1,"scenarios":[]}',
            "sent the unexpected event 'ready'",
        ),
        (b'{"event":"fatal","message":"out of \\u001b[2Jmemory"}', r"gave up.*\\x1b\[2Jmemory"),
    ],
)
def test_a_line_that_is_no_answer_is_quoted(
    session: AgentSession, agent: FakeAgent, line: bytes, said: str
) -> None:
    agent.when("unload", lambda command: agent.process.say(line + b"\n"))
    with pytest.raises(AgentError, match=said) as caught:
        session.unload("winvm", soon())
    assert "\x1b" not in str(caught.value)


def test_a_line_without_end_is_cut_off(
    session: AgentSession, agent: FakeAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.agent.conversation.CRASH_GRACE_S", 0.1)

    def flood(command: dict[str, object]) -> None:
        for _ in range(LINE_LIMIT // (1 << 16) + 1):
            agent.process.say(b"A" * (1 << 16))

    agent.when("unload", flood)
    with pytest.raises(AgentError, match="a line of more than 1048576 bytes, 'AAAA") as caught:
        session.unload("winvm", soon())
    assert len(str(caught.value)) < 1000


def test_a_flood_of_events_is_held_back(session: AgentSession, agent: FakeAgent) -> None:
    agent.when(
        "unload",
        lambda command: agent.process.say(b'{"event":"standby"}\n' * 50_000),
    )
    answer = session.unload("winvm", soon(0.5))
    assert isinstance(answer, KernelCrash)
    assert answer.kind == "hang"


def test_another_scenarios_result_is_refused(session: AgentSession, agent: FakeAgent) -> None:
    agent.when("ioctl.set", lambda command: agent.finish({"id": 9, "scenario": "ioctl.get"}))
    with pytest.raises(AgentError, match=r"a result for 'ioctl\.get' \(9\)"):
        session.run(1, "ioctl.set", soon())


def test_a_contract_mismatch(session: AgentSession, agent: FakeAgent) -> None:
    agent.when(
        "load",
        lambda command: agent.say("loaded", ok=False, message="hash 1 is not 2", contract_mismatch=True),
    )
    with pytest.raises(ContractError, match="hash 1 is not 2") as caught:
        session.load("winvm", SYS, "contract", soon())
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("code", "name", "remedy"),
    [
        (1275, "ERROR_DRIVER_BLOCKED", "test-sign"),
        (577, "ERROR_INVALID_IMAGE_HASH", "Sign the driver"),
        (127, "ERROR_PROC_NOT_FOUND", "imports a function"),
        (1053, "ERROR_SERVICE_REQUEST_TIMEOUT", "DriverEntry did not return in time: it waits or loops"),
        (4242, "error 4242", "dbgprint.log"),
        (0, "is not usable", "dbgprint.log"),
    ],
)
def test_a_driver_that_does_not_load(
    session: AgentSession,
    agent: FakeAgent,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    name: str,
    remedy: str,
) -> None:
    monkeypatch.setattr("harness.agent.session.LOAD_GRACE_S", 0.05)
    agent.when("load", lambda command: agent.say("loaded", ok=False, error_code=code, message="no"))
    with pytest.raises(DriverLoadError, match=name) as caught:
        session.load("winvm", SYS, None, soon())
    assert remedy in caught.value.remedy
    assert caught.value.exit_code == 1


def test_a_crash_in_driver_entry_wins_over_the_refused_load(
    session: AgentSession, agent: FakeAgent, debug: FakeDebugStream
) -> None:
    def react(command: dict[str, object]) -> None:
        agent.say("loaded", ok=False, error_code=1053, message="timeout")
        time.sleep(0.2)
        debug.break_down("exception", 0xC0000005)

    agent.when("load", react)
    ended = session.load("winvm", SYS, None, soon())
    assert isinstance(ended, KernelCrash)
    assert ended.kind == "exception"


def test_hello_refuses_another_protocol(session: AgentSession, agent: FakeAgent) -> None:
    agent.when(
        "hello", lambda command: agent.say("ready", protocol=2, python="3", pid=1, scenarios=[], more=1)
    )
    with pytest.raises(AgentError, match="protocol version 2"):
        hello(session)


def test_hello_without_answer_is_a_deadline_error(session: AgentSession, agent: FakeAgent) -> None:
    agent.when("hello", lambda command: agent.say("standby"))
    with pytest.raises(DeadlineError, match=r"answer hello within 0\.2 s"):
        hello(session, soon(0.2))


def test_an_abandoned_session_says_nothing_to_the_agent_and_waits_for_nothing(
    agent: FakeAgent, debug: FakeDebugStream
) -> None:
    session = AgentSession(agent.process, debug, "nonce", Deadline.after(60))
    started = time.monotonic()
    session.abandon()
    assert time.monotonic() - started < 0.5
    assert not agent.process.terminated


def test_close_terminates_the_agent_and_is_quick(agent: FakeAgent, debug: FakeDebugStream) -> None:
    session = AgentSession(agent.process, debug, "nonce", Deadline.after(60))
    agent.process.say(b'{"event":"standby"}\n' * 1000)  # more than the inbox holds
    started = time.monotonic()
    session.close()
    assert agent.process.terminated
    assert time.monotonic() - started < 1.5

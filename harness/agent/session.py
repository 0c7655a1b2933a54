"""Host side of the agent: sends commands, reads events, and decides between answer, crash and deadline.

Whatever the guest does, no call here outlasts its deadline: other threads talk to the guest. The calling
thread waits for the agent's line, the debug stream's crash, or the deadline. A crash takes precedence over a
lost connection.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from harness.agent.lines import STDERR_TAIL, AgentLines, Lost
from harness.agent.load_errors import load_error
from harness.agent.protocol import (
    LINE_LIMIT,
    VERSION,
    AgentEvent,
    Fatal,
    Finished,
    Loaded,
    Ready,
    Standby,
    Unloaded,
    command_line,
    parse_event,
    quoted,
)
from harness.deadline import Deadline
from harness.errors import AgentError, DeadlineError
from harness.interfaces import DebugStream, GuestProcess
from harness.outcome import KernelCrash

POLL_S = 0.02
"""Seconds between checks of the debug stream while waiting for the agent."""
CRASH_GRACE_S = 3.0
"""Time after the loss of the agent in which the debug stream may still report the crash that explains it."""
MARKER_GRACE_S = 3.0
"""Time after a result in which the scenario's end marker must arrive on the debug stream."""
LOAD_GRACE_S = 1.0
"""Time after a failed load in which the debug stream may still report a crash in DriverEntry."""

E = TypeVar("E", Ready, Loaded, Unloaded, Finished)


def start_agent(process: GuestProcess, zipapp: str, deadline: Deadline) -> None:
    """Turns the guest's standby interpreter into the agent in `zipapp` (a guest path).

    Afterwards the agent waits for hello, and no request is pending in the guest, so the guest may be saved.

    Raises:
        AgentError: the agent cannot be imported, or sends an unexpected line.
        DeadlineError: the agent sent nothing in time.
    """
    process.send(command_line("start", zipapp=zipapp))
    said = errors = b""
    for stream, data in process.receive(deadline):
        if stream == "stderr":
            errors = (errors + data)[-STDERR_TAIL:]
            continue
        said += data
        line, newline, _ = said.partition(b"\n")
        if newline or len(said) > LINE_LIMIT:
            event = parse_event(line.removesuffix(b"\r"))
            if isinstance(event, Standby):
                return
            raise _agent_error(f"The agent did not start: {quoted(line)}.", errors)
    if process.exit_code is None:
        raise DeadlineError(f"The agent did not start within {deadline.seconds:g} s.")
    raise _agent_error(f"The agent exited with code {process.exit_code:#x} during its start.", errors)


@dataclasses.dataclass(frozen=True)
class ScenarioCrash:
    """A crash that ended a scenario or prevented it from running; `scenario` is the one to blame."""

    report: KernelCrash
    scenario: str


class AgentSession:
    """One agent process over its streams.

    Args:
        process: the running agent, see `start_agent`.
        debug: the debug stream; it must be live, as only time relates its output to the agent's answers.
        nonce: identifies this run in the in-band markers.
        lifetime: when the session ends, even without `close`.
    """

    def __init__(self, process: GuestProcess, debug: DebugStream, nonce: str, lifetime: Deadline) -> None:
        self._lines = AgentLines(process, lifetime)
        self._debug = debug
        self._nonce = nonce
        self._last_scenario = ""

    def hello(
        self,
        deadline: Deadline,
        *,
        capabilities: Sequence[str],
        journal: str | None,
    ) -> Ready:
        """Sends hello. Raises `AgentError`, also for a crash, and `DeadlineError`."""
        answer = self._ask(
            Ready,
            deadline,
            "answer hello",
            "hello",
            marker=self._nonce,
            capabilities=list(capabilities),
            journal=journal,
        )
        if isinstance(answer, KernelCrash):
            if answer.kind == "hang":
                raise DeadlineError(answer.text, remedy="See dbgprint.log for what the guest did instead.")
            raise self._error(
                f"The guest crashed before the agent was ready: {quoted(answer.text.encode())}."
            )
        if answer.protocol != VERSION:
            raise self._error(f"The agent uses protocol version {answer.protocol}, this host {VERSION}.")
        return answer

    def load(
        self, service: str, sys_path: str | None, contract: str | None, deadline: Deadline
    ) -> Loaded | KernelCrash:
        """Installs and starts a driver, replacing what was loaded.

        Without a path, the service must exist; it is started unless it is running.

        Raises `ContractError` or `DriverLoadError` when Windows or the contract refuses it. A driver that
        crashes in DriverEntry, or never returns from it, gives a `KernelCrash`.
        """
        fields = {"service": service, "sys": sys_path, "contract": contract}
        named = sys_path or f"the installed service {service}"
        answer = self._ask(Loaded, deadline, f"load {named}", "load", **fields)
        if isinstance(answer, Loaded) and not answer.ok:
            crash = self.late_crash(deadline.at_most(LOAD_GRACE_S)) if answer.error_code else None
            if crash is None:
                raise load_error(service, named, answer)
            answer = crash
        return answer

    def unload(self, service: str, deadline: Deadline) -> Unloaded | KernelCrash:
        """Stops and removes a driver; `ok` of the answer says whether that worked."""
        return self._ask(Unloaded, deadline, f"unload {service}", "unload", service=service)

    def run(
        self,
        scenario_id: int,
        scenario: str,
        deadline: Deadline,
        params: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> Finished | ScenarioCrash:
        """Runs one scenario to its result, the driver's crash, or the deadline (a crash of kind `hang`).

        `more` holds further fields of the command: `seed`; `operations` and `linger_s` for a replay
        (guest/agent/replay.py).

        A crash after the end of the previous scenario is attributed to that scenario, with a note, and this
        scenario is not run. Raises `AgentError` when the agent is lost or sends an unexpected line, without
        a crash that explains it.
        """
        if (crash := self._debug.crash()) is not None:
            note = f"The driver crashed after this scenario had ended, before {scenario} began."
            report = dataclasses.replace(crash, notes=(*crash.notes, note))
            return ScenarioCrash(report, self._last_scenario or scenario)
        self._last_scenario = scenario
        answer = self._ask(
            Finished,
            deadline,
            f"run {scenario}",
            "run",
            id=scenario_id,
            scenario=scenario,
            deadline_s=deadline.remaining(),
            params=dict(params or {}),
            **more,
        )
        if isinstance(answer, Finished):
            if (answer.id, answer.scenario) != (scenario_id, scenario):
                raise self._error(
                    f"The agent sent a result for {answer.scenario!r} ({answer.id}), which was not running."
                )
            # The end marker follows a crash report on the same channel: if the marker is here without a
            # crash report, there was no crash.
            complete = self._debug.wait_for_end_marker(scenario_id, Deadline.after(MARKER_GRACE_S))
            crash = self._debug.crash()
            if crash is None and answer.driver_exit:
                crash = self.late_crash(Deadline.after(CRASH_GRACE_S)) or _ended(answer.driver_exit)
            if crash is None:
                note = "The debug output may be incomplete: the scenario's end marker did not arrive."
                return answer if complete else answer.model_copy(update={"notes": [*answer.notes, note]})
            answer = crash
        return ScenarioCrash(answer, scenario)

    def release(self, service: str, deadline: Deadline) -> Unloaded | KernelCrash:
        """Unloads a driver and closes the session, but leaves the agent running for the next session.

        Nothing is read after the answer: a pending Receive would consume the first answer to the next
        session. After a `KernelCrash` the agent cannot be used.
        """
        self._lines.release()
        answer = self.unload(service, deadline)
        self._lines.wait(deadline)
        self.close()
        return answer

    def quit(self, deadline: Deadline) -> None:
        """Tells the agent to exit, waits for it, and closes the session."""
        self._lines.send(command_line("quit"))
        self._lines.wait(deadline)
        self.close()

    def close(self) -> None:
        """Ends the agent and stops the threads; never raises, and never waits long for a dead guest."""
        self._lines.close()

    def abandon(self) -> None:
        """Closes the session of a guest that is about to be discarded, without ending the agent."""
        self._lines.abandon()

    def _ask(self, kind: type[E], deadline: Deadline, what: str, cmd: str, **fields: Any) -> E | KernelCrash:
        """Sends a command and waits for its answer, the crash, or the deadline."""
        self._lines.send(command_line(cmd, **fields))
        while True:
            event = self._next(deadline, what)
            if isinstance(event, kind | KernelCrash):
                return event
            if isinstance(event, Fatal):
                raise self._error(
                    f"The agent failed to {what}: it gave up: {quoted(event.message.encode())}."
                )
            if not isinstance(event, Standby):
                raise self._error(
                    f"The agent failed to {what}: it sent the unexpected event {event.event!r}."
                )

    def _next(self, deadline: Deadline, what: str) -> AgentEvent | KernelCrash:
        while (crash := self._debug.crash()) is None:
            if deadline.expired:
                return self._hang(deadline, what)
            heard = self._lines.receive(min(POLL_S, deadline.remaining()))
            if isinstance(heard, bytes):
                return parse_event(heard)
            if isinstance(heard, Lost):
                crash = self.late_crash(deadline.at_most(CRASH_GRACE_S))
                if crash is None:
                    raise self._error(f"The agent failed to {what}: {heard.reason}.")
                return crash
        return crash

    def late_crash(self, deadline: Deadline) -> KernelCrash | None:
        """Gives the debug stream time to report the crash that ended the agent or the service."""
        crashes = (self._debug.crash() for _ in deadline.tries(every=POLL_S))
        return next(filter(None, crashes), None)

    def _hang(self, deadline: Deadline, what: str) -> KernelCrash:
        text = f"The guest did not {what} within {deadline.seconds:g} s."
        return KernelCrash("hang", 0, (), time=time.time(), text=text)

    def _error(self, message: str) -> AgentError:
        return _agent_error(message, self._lines.stderr)


def _ended(exit_code: int) -> KernelCrash:
    """A crash that only the service control manager witnessed."""
    text = f"The driver's service ended by itself with exit code {exit_code}; it was not stopped."
    return KernelCrash("ended", exit_code, (), time=time.time(), text=text)


def _agent_error(message: str, stderr: bytes) -> AgentError:
    return AgentError(
        message,
        remedy="See dbgprint.log and journal.jsonl of this run for what the guest did last.",
        detail=stderr.decode("utf-8", "backslashreplace"),
    )

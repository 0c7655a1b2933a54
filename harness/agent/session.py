"""Host side of the agent: sends commands, reads events, and decides between answer, crash and deadline.

Whatever the guest does, no call here outlasts its deadline by more than `conversation` says: other threads
talk to the guest. The calling thread waits for the agent's line, the debug stream's crash, or the deadline.
A crash takes precedence over a lost connection.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from harness.agent.conversation import (
    CRASH_GRACE_S,
    LOOK_S,
    Conversation,
    E,
    Stuck,
    agent_error,
    hang,
    no_trouble,
    not_stopped,
)
from harness.agent.lines import STDERR_TAIL, AgentLines
from harness.agent.load_errors import load_error
from harness.agent.protocol import (
    LINE_LIMIT,
    VERSION,
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
from harness.display.terminal import printable
from harness.errors import AgentError, DeadlineError
from harness.interfaces import DebugStream, GuestProcess, ReadsLog
from harness.outcome import KernelCrash
from harness.project.config import ServiceSection

MARKER_GRACE_S = 3.0
"""Time after a result in which the scenario's end marker must arrive on the debug stream."""
INCOMPLETE = "The debug output may be incomplete: the scenario's end marker did not arrive."
NO_CRASH = "The debug output tells of a crash, but the driver's service still runs, so there was none"
LOAD_GRACE_S = 1.0
"""Time after a failed load or unload in which the debug stream may still report the driver's crash."""
ERROR_SERVICE_REQUEST_TIMEOUT = 1053  # winerror.h: a service did not answer within 30 s

MESSAGE_LIMIT = 2000
"""Characters that are kept of what the agent says when it cannot start."""


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
            if isinstance(event, Fatal):
                raise AgentError(
                    f"The agent did not start in the guest: {printable(event.message)[:MESSAGE_LIMIT]}.",
                    remedy="Correct that file and run again, or see the detail.",
                    detail=errors.decode("utf-8", "backslashreplace"),
                )
            raise agent_error(f"The agent did not start: {quoted(line)}.", errors)
    if process.exit_code is None:
        raise DeadlineError(f"The agent did not start within {deadline.seconds:g} s.")
    raise agent_error(f"The agent exited with code {process.exit_code:#x} during its start.", errors)


@dataclasses.dataclass(frozen=True)
class ScenarioCrash:
    """A crash that ended a scenario or prevented it from running.

    Attributes:
        scenario: the one to blame.
        notes: what the scenario had noted and printed, as far as its agent could still tell.
        began: whether the one that did not run to its end had begun.
        quiet: whether all its operations had returned before the crash.
        silent: a hang that only an agent without an answer tells of; see `harness.run.silence`.
    """

    report: KernelCrash
    scenario: str
    notes: tuple[str, ...] = ()
    began: bool = True
    quiet: bool = False
    silent: bool = False


@dataclasses.dataclass(frozen=True)
class Debugging:
    """Somebody who debugs scenarios: breakpoint() opens a debugger in the guest.

    ask: shows text and returns the line typed, with its line end; empty at the end of input. post_mortem:
    what a scenario raises opens it, too.
    """

    ask: Callable[[str], str]
    post_mortem: bool = False


class AgentSession:
    """One agent process over its streams.

    Args:
        process: the running agent, see `start_agent`.
        debug: the debug stream; it must be live, as only time relates its output to the agent's answers.
        nonce: identifies this run in the in-band markers.
        lifetime: when the session ends, even without `close`.
        trouble: why the host stopped the guest's machine; empty while it runs.
    """

    def __init__(
        self,
        process: GuestProcess,
        debug: DebugStream,
        nonce: str,
        lifetime: Deadline,
        trouble: Callable[[], str] = no_trouble,
    ) -> None:
        self._lines = AgentLines(process, lifetime)
        self._conversation = Conversation(self._lines, debug, trouble)
        self._debug = debug
        self._nonce = nonce
        self._last_scenario = ""
        self.counted: Callable[[Loaded | Unloaded | Finished], None] = lambda _: None
        """Called with each answer that may carry counters."""

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
            raise self._conversation.error(
                f"The guest crashed before the agent was ready: {quoted(answer.text.encode())}."
            )
        if answer.protocol != VERSION:
            raise self._conversation.error(
                f"The agent uses protocol version {answer.protocol}, this host {VERSION}."
            )
        return answer

    def load(
        self,
        service: str,
        sys_path: str | None,
        contract: str | None,
        deadline: Deadline,
        *,
        made: ServiceSection | None = None,
        main: bool = True,
        instruments: Sequence[str] = (),
    ) -> Loaded | KernelCrash:
        """Installs and starts a driver, replacing a service of that name.

        Without a path, the service must exist; it is started unless it is running.

        Args:
            made: how the service is made.
            main: whether it is the driver under test, whose end the agent watches.
            instruments: what the agent reads from it.

        Raises `ContractError` or `DriverLoadError` when Windows or the contract refuses it. A driver that
        crashes in DriverEntry, or never returns from it, gives a `KernelCrash`.
        """
        fields: dict[str, Any] = {"service": service, "sys": sys_path, "contract": contract}
        fields |= (made or ServiceSection()).model_dump(mode="json", exclude_defaults=True)
        if not main:
            fields["main"] = False
        if instruments:
            fields["instruments"] = list(instruments)
        named = sys_path or f"the installed service {service}"
        began = time.time()
        answer = self._ask(Loaded, deadline, f"load {named}", "load", **fields)
        if isinstance(answer, Loaded) and not answer.ok:
            crash = self.late_crash(deadline.at_most(LOAD_GRACE_S)) if answer.error_code else None
            if crash is None:
                records = [one for one in self._debug.tail() if one.time >= began]
                log = self._debug if isinstance(self._debug, ReadsLog) else None
                raise load_error(service, named, answer, records, log.entry_status(records) if log else None)
            return crash
        if isinstance(answer, Loaded) and (crash := self.crash()):
            return crash
        return answer

    def unload(self, service: str, deadline: Deadline) -> Unloaded | KernelCrash:
        """Stops and removes a driver; `ok` of the answer says whether that worked."""
        answer = self._ask(Unloaded, deadline, f"unload {service}", "unload", service=service)
        if isinstance(answer, KernelCrash) or answer.ok or not answer.error_code:
            return answer
        if crash := self.late_crash(deadline.at_most(LOAD_GRACE_S)):
            return crash
        if answer.error_code == ERROR_SERVICE_REQUEST_TIMEOUT:
            return hang(f"Windows waited in vain for it to stop: {answer.message.rstrip('.')}.")
        return answer

    def run(
        self,
        scenario_id: int,
        scenario: str,
        deadline: Deadline,
        params: Mapping[str, Any] | None = None,
        debugging: Debugging | None = None,
        **more: Any,
    ) -> Finished | ScenarioCrash | Stuck:
        """Runs one scenario to its result, the driver's crash, or the deadline.

        At the deadline a call that has not returned, or an agent that does not answer, is a crash of kind
        `hang`; a scenario that runs code of its own is `Stuck`, and its agent can run no other.

        With `debugging`, the deadline stands still while a debugger waits for a line.

        `more` holds further fields of the command: `seed`; `operations` and `linger_s` for a replay
        (guest/agent/replay.py).

        A crash after the end of the previous scenario is attributed to that scenario, with a note, and this
        scenario is not run. Raises `AgentError` when the agent is lost or sends an unexpected line, without
        a crash that explains it.
        """
        if (crash := self.crash()) is not None:
            note = f"The driver crashed after this scenario had ended, before {scenario} began."
            report = dataclasses.replace(crash, notes=(*crash.notes, note))
            return ScenarioCrash(report, self._last_scenario or scenario, began=False)
        self._last_scenario = scenario
        self._conversation.notes = ()
        self._conversation.quiet = False
        self._conversation.answer_prompt = debugging.ask if debugging else None
        if debugging:
            more |= {"debugger": True, "post_mortem": debugging.post_mortem}
        answer = self._conversation.ask(
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
                raise self._conversation.error(
                    f"The agent sent a result for {answer.scenario!r} ({answer.id}), which was not running."
                )
            self.counted(answer)
            # The end marker follows a crash report on the same channel: if the marker is here without a
            # crash report, there was no crash.
            complete = self._debug.wait_for_end_marker(scenario_id, Deadline.after(MARKER_GRACE_S))
            told = self._debug.crash()
            if answer.driver_exit:
                late = told or self.late_crash(Deadline.after(CRASH_GRACE_S))
                return ScenarioCrash(late or _ended(answer.driver_exit), scenario, tuple(answer.notes))
            if told and (crash := self._conversation.believed(told)):
                return ScenarioCrash(crash, scenario, tuple(answer.notes), quiet=self._conversation.quiet)
            if answer.stopping:
                report = hang(f"The scenario ended, but {not_stopped(answer.stopping)}")
                return ScenarioCrash(report, scenario, tuple(answer.notes))
            notes = [] if complete else [INCOMPLETE]
            notes += [f"{NO_CRASH}: {quoted(told.text.encode())}"] if told else []
            return answer.model_copy(update={"notes": [*answer.notes, *notes]}) if notes else answer
        if isinstance(answer, Stuck):
            return answer
        talk = self._conversation
        return ScenarioCrash(answer, scenario, talk.notes, quiet=talk.quiet, silent=talk.silent)

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

    def answers(self) -> bool:
        """Whether the agent says now what it is doing. Raises `AgentError` as `Conversation.look` does."""
        return self._conversation.look(Deadline.after(LOOK_S)) is not None

    def _ask(self, kind: type[E], deadline: Deadline, what: str, cmd: str, **fields: Any) -> E | KernelCrash:
        answer = self._conversation.ask(kind, deadline, what, cmd, **fields)
        if isinstance(answer, Stuck):
            return hang(
                f"The guest did not {what} within {deadline.seconds:g} s, and its agent still answers."
            )
        if isinstance(answer, Loaded | Unloaded):
            self.counted(answer)
        return answer

    def late_crash(self, deadline: Deadline) -> KernelCrash | None:
        """Gives the debug stream time to report the crash that ended the agent or the service."""
        return self._conversation.late_crash(deadline)

    def crash(self) -> KernelCrash | None:
        """The crash that has happened since the guest was restored, if any."""
        crash = self._debug.crash()
        return self._conversation.believed(crash) if crash else None


def _ended(exit_code: int) -> KernelCrash:
    """A crash that only the service control manager witnessed."""
    text = f"The driver's service ended by itself with exit code {exit_code}; it was not stopped."
    return KernelCrash("ended", exit_code, (), time=time.time(), text=text)

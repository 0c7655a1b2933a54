"""Commands and answers, and what else ends the wait for an answer: a crash, a stopped machine, the deadline.

A debug stream that is a log (`ToldByLog`) may hold text that only looks like a crash. Such a report is
believed once the agent says that the driver's service has ended or that its stop does not end, when the
driver was loaded again since, or when no agent is there to ask.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from harness.agent.lines import AgentLines, Lost
from harness.agent.protocol import (
    AgentEvent,
    Fatal,
    Finished,
    Loaded,
    Looked,
    Prompt,
    Ready,
    Standby,
    Unloaded,
    command_line,
    parse_event,
    quoted,
)
from harness.deadline import Deadline
from harness.errors import AgentError, MachineError
from harness.interfaces import DebugStream, ToldByLog
from harness.outcome import KernelCrash

POLL_S = 0.02
"""Seconds between checks of the debug stream while waiting for the agent."""
CRASH_GRACE_S = 3.0
"""Time after the loss of the agent in which the debug stream may still report the crash that explains it."""
LOOK_S = 3.0
"""For the agent's answer to `look`; its reading thread waits for nothing but the interpreter."""
LOOK_EVERY_S = 0.25
TROUBLE_EVERY_S = 0.5
WAITING_LIMIT = 64
"""Most events that are kept during looks; an agent owes one answer, and a hostile one may send any number."""
STILL_S = 1.0
"""A call that lasts this long at the deadline hangs; a shorter one may be one of many that all return."""
DYING_S = {"bugcheck": 10.0, "exception": 60.0}
"""Longest time from a report in a log to the end of the driver's service, by kind. After an exception Wine
writes a minidump of the process first: 1 to 2 s on an emulated processor, 20 s at most by its own clock."""
STOPPING_S = 5.0
"""A service that has been stopping for so long, with no call under way, does not run on: Wine's service
control manager keeps STOP_PENDING when the driver's process dies in its unload routine."""
QUIET_S = 0.1
"""A crash that is reported so long after the last operation had returned came while none was under way."""
STACK_OVERFLOW = 0xC00000FD
"""STATUS_STACK_OVERFLOW: Wine ends the thread alone, and writes no dump."""

E = TypeVar("E", Ready, Loaded, Unloaded, Finished)


@dataclasses.dataclass(frozen=True)
class Stuck:
    """The scenario did not end in time, with no operation that hangs: `where` it is, and its `stack`.

    `operation`: a call that it was in, for less than `STILL_S`; empty while it runs code of its own.
    `silence`: its agent does not answer, so that none of these is known; why no operation was under way.
    """

    where: str
    stack: str
    operation: str = ""
    silence: str = ""


def no_trouble() -> str:
    """For a machine whose host side cannot be asked."""
    return ""


class Conversation:
    """The host's side of one agent; no call outlasts its deadline by more than `DYING_S` and two looks.

    Args:
        trouble: why the host stopped the guest's machine; empty while the machine runs.

    Attributes:
        answer_prompt: shows a debugger's text to a person and returns the line typed, empty at the end of
            input; None where no debugger was asked for.
        notes: of the running scenario, as the last look found them.
        quiet: whether a look has shown that every operation had returned before the crash.
        silent: whether the last wait ended as a hang because the agent does not answer.
    """

    def __init__(self, lines: AgentLines, debug: DebugStream, trouble: Callable[[], str]) -> None:
        self._lines = lines
        self._debug = debug
        self._trouble = trouble
        self.answer_prompt: Callable[[str], str] | None = None
        self.notes: tuple[str, ...] = ()
        self.quiet = False
        self.silent = False
        self._waiting: deque[AgentEvent] = deque()
        self._looks = 0

    def ask(
        self, kind: type[E], deadline: Deadline, what: str, cmd: str, **fields: Any
    ) -> E | KernelCrash | Stuck:
        """Sends a command and waits for its answer, a crash, or the deadline.

        Raises:
            AgentError: the agent is lost, or sends something else, and no crash explains it.
            MachineError: the host stopped the machine.
        """
        self.silent = False
        self._lines.send(command_line(cmd, **fields))
        event = self._next(deadline, what)
        if isinstance(event, kind | KernelCrash | Stuck):
            return event
        if isinstance(event, Fatal):
            raise self.error(f"The agent failed to {what}: it gave up: {quoted(event.message.encode())}.")
        raise self.error(f"The agent failed to {what}: it sent the unexpected event {event.event!r}.")

    def look(self, deadline: Deadline, *, driver: bool = False) -> Looked | None:
        """What the agent is doing, answered by another thread of it; None if it does not answer in time.

        Args:
            driver: also whether the driver's service runs, which takes longer.

        Raises:
            AgentError: the agent sends what is no event, or more events than can be answers.
        """
        self._looks += 1
        self._lines.send(command_line("look", id=self._looks, driver=driver))
        while not deadline.expired:
            heard = self._lines.receive(min(POLL_S, deadline.remaining()))
            if isinstance(heard, Lost):
                return None
            event = parse_event(heard) if heard is not None else None
            if isinstance(event, Looked):
                self.notes = tuple(event.notes) or self.notes
                if event.id == self._looks:
                    return event
            elif event is not None and not isinstance(event, Standby):
                if len(self._waiting) >= WAITING_LIMIT:
                    raise self.error(
                        f"The agent sent more than {WAITING_LIMIT} events that nothing asked for."
                    )
                self._waiting.append(event)
        return None

    def believed(self, crash: KernelCrash) -> KernelCrash | None:
        """The crash, if it happened; None, and the stream forgets it, if the driver's service runs on.

        A service whose call does not return either has crashed: what writes the minidump may hang, and keep
        the dead driver's process.
        """
        debug = self._debug
        if not isinstance(debug, ToldByLog) or crash.kind not in DYING_S:
            return crash
        dying_s = DYING_S["bugcheck" if crash.code == STACK_OVERFLOW else crash.kind]
        for _ in Deadline.after(dying_s).tries(every=LOOK_EVERY_S):
            seen = self._look_after(crash)
            if seen is None or not seen.driver_runs or _does_not_stop(seen) or debug.loaded_again():
                return crash
        if seen and seen.operation and seen.seconds >= dying_s:
            return crash
        debug.dismiss("not a crash: the driver's service still runs")
        return None

    def _look_after(self, crash: KernelCrash) -> Looked | None:
        """Looks at the driver's service, and at whether an operation was under way when it crashed."""
        seen = self.look(Deadline.after(LOOK_S), driver=True)
        if seen is not None and seen.idle is not None and time.time() - seen.idle + QUIET_S <= crash.time:
            self.quiet = True
        return seen

    def late_crash(self, deadline: Deadline) -> KernelCrash | None:
        """Gives the debug stream time to report the crash that ended the agent or the service."""
        crashes = (self._debug.crash() for _ in deadline.tries(every=POLL_S))
        return next(filter(None, crashes), None)

    def error(self, message: str) -> AgentError:
        """An `AgentError` with the end of what the agent wrote to stderr."""
        return agent_error(message, self._lines.stderr)

    def _next(self, deadline: Deadline, what: str) -> AgentEvent | KernelCrash | Stuck:
        """The next event but `Standby` and `Looked`: those put off no look at crash or machine."""
        looked = asked = time.monotonic()
        while True:
            if self._waiting:
                return self._waiting.popleft()
            now = time.monotonic()
            if crash := self._debug.crash():
                if not isinstance(self._debug, ToldByLog) or crash.kind not in DYING_S:
                    return crash
                if self._debug.loaded_again():
                    return crash
                if now - looked >= LOOK_EVERY_S:
                    seen = self._look_after(crash)
                    looked = time.monotonic()
                    if seen is not None and (seen.driver_runs is False or _does_not_stop(seen)):
                        return crash
            if now - asked >= TROUBLE_EVERY_S:
                asked = now
                self._require_machine()
            if deadline.expired:
                return self._overdue(deadline, what)
            heard = self._lines.receive(min(POLL_S, deadline.remaining()))
            event = parse_event(heard) if isinstance(heard, bytes) else None
            if isinstance(event, Prompt) and self.answer_prompt:
                began = time.monotonic()
                self._lines.send(command_line("line", text=self.answer_prompt(event.text)))
                deadline = deadline.paused(time.monotonic() - began)
            elif event is not None and not isinstance(event, Standby | Looked):
                return event
            if isinstance(heard, Lost):
                crash = self.late_crash(deadline.at_most(CRASH_GRACE_S))
                if crash is None:
                    self._require_machine()
                    raise self.error(f"The agent failed to {what}: {heard.reason}.")
                return crash

    def _overdue(self, deadline: Deadline, what: str) -> AgentEvent | KernelCrash | Stuck:
        """The deadline has passed: a crash that is still being written, the scenario's fault, or a hang."""
        text = f"The guest did not {what} within {deadline.seconds:g} s"
        for wait_s in (STILL_S + LOOK_EVERY_S, 0.0):
            self._require_machine()
            if (crash := self._debug.crash()) and (crash := self.believed(crash)):
                return crash
            seen = self.look(Deadline.after(LOOK_S))
            if self._waiting:
                return self._waiting.popleft()
            if seen is None:
                self.silent = True
                return hang(f"{text}, and its agent does not answer.")
            if seen.operation and seen.seconds >= STILL_S:
                return hang(f"{text}: {seen.operation} has not returned after {seen.seconds:.1f} s.")
            stuck = Stuck(seen.where, seen.stack, seen.operation)
            if not seen.operation:
                driver = self.look(Deadline.after(LOOK_S), driver=True)
                if self._waiting:
                    return self._waiting.popleft()
                if driver and driver.stopping >= STILL_S and not driver.holds:
                    return hang(f"{text}: {not_stopped(driver.stopping)}")
                break
            time.sleep(wait_s)
        return stuck

    def _require_machine(self) -> None:
        if trouble := self._trouble():
            raise MachineError(trouble, remedy="Correct that on the host; the driver is not to blame.")


def _does_not_stop(seen: Looked) -> bool:
    """Whether a stop of the driver's service, whose call has returned, makes no progress."""
    return seen.stopping >= STOPPING_S and not seen.operation


def not_stopped(seconds: float) -> str:
    """What is known of a service that does not end its stop, as the end of a sentence."""
    return f"the driver's service has not stopped {seconds:.1f} s after ControlService asked it to."


def hang(text: str) -> KernelCrash:
    """A crash of kind `hang`, seen now."""
    return KernelCrash("hang", 0, (), time=time.time(), text=text)


def agent_error(message: str, stderr: bytes) -> AgentError:
    """An error with the end of the agent's stderr below it."""
    return AgentError(
        message,
        remedy="See dbgprint.log of this run, and lost/ beside it, for what the guest did last.",
        detail=stderr.decode("utf-8", "backslashreplace"),
    )

"""Runs a scenario's body: what it prints is kept, its threads count, a debugger may be in it."""

from __future__ import annotations

import contextlib
import io

from agent.context import Context
from agent.debugger import Debugger, refuse
from agent.errors import SkipScenario
from agent.registry import Body
from agent.threads import RaisedInThreads
from agent.verdict import PASSED, ScenarioVerdict, in_thread, returned, verdict


def captured(context: Context) -> contextlib.AbstractContextManager[object]:
    """While the `with` block runs, what is printed becomes notes."""
    return contextlib.redirect_stdout(_Captured(context))


def run_body(run: Body, context: Context) -> ScenarioVerdict:
    """Runs the body to its end; never raises."""
    refuse(context.name)
    with RaisedInThreads() as threads:
        try:
            value = run(context)
            ended = PASSED if value is None else returned(value)
        except BaseException as error:  # noqa: BLE001  a scenario may raise anything, KeyboardInterrupt, too
            ended = verdict(error)
    return _with_threads(ended, threads, context)


def debugged(run: Body, debugger: Debugger, *, post_mortem: bool) -> Body:
    """`run` with breakpoint(); with `post_mortem`, what it raises is debugged before it is its outcome."""

    def debugged(t: Context) -> object:
        debugger.enter(t)
        try:
            return run(t)
        except BaseException as error:
            if type(error).__name__ == "BdbQuit":  # bdb is imported only where a breakpoint was reached
                raise AssertionError("the debugger was quit before the scenario's end") from None
            if post_mortem and not isinstance(error, SkipScenario):
                debugger.post_mortem(error)
            raise
        finally:
            debugger.leave()

    return debugged


def _with_threads(ended: ScenarioVerdict, threads: RaisedInThreads, context: Context) -> ScenarioVerdict:
    """The verdict, if the scenario has none of its own, that an exception in one of its threads gives."""
    for name, error in threads.before:
        context.note(f"thread {name}, which an earlier scenario left running, raised {type(error).__name__}")
    found = [in_thread(name, error) for name, error in threads.raised]
    failed = [one for one in found if one.outcome != "skipped"]
    if failed and ended.outcome in ("passed", "skipped"):
        return failed[0]
    if found and ended.outcome == "passed":
        return found[0]
    for one in found:
        context.note(one.message)
    return ended


class _Captured(io.TextIOBase):
    """Stands in for stdout while a scenario runs: its lines become notes."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._line = ""

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Turns each complete line into a note; an incomplete line is kept until the rest is written."""
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            self._context.note(line)
        self._line = self._line[-1000:]
        return len(text)

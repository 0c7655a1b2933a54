"""breakpoint() and post-mortem debugging in a scenario: pdb, whose lines travel to the host's terminal.

The agent has no terminal: its stdin and stdout carry the protocol. So pdb reads each command by a `prompt`
event, which the host answers with a `line` command once somebody has typed it.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

from agent.deadline import Deadline
from agent.inbox import Inbox
from agent.operations import Operations
from agent.protocol import Wire

if TYPE_CHECKING:
    import pdb

MAX_SHOWN = 60_000
"""Characters of output between two prompts that are sent; the newest are kept."""
REFUSED = (
    "breakpoint() finds no terminal to debug in. Run `winvm run {name}` in a terminal, or look at values with"
    " print() and t.note(), which the result shows."
)
IN_CHILD = "breakpoint() works in the scenario's own process, not in a spawned one: use print() there."


class NoTerminalError(Exception):
    """breakpoint() was called where nobody can answer."""


class Debugger:
    """Debugs one scenario after another on the host's terminal.

    Args:
        inbox: the host's commands.
        hidden: prefix of the file names whose frames are not the scenario's own.
    """

    def __init__(self, wire: Wire, inbox: Inbox, hidden: str) -> None:
        self._wire = wire
        self._inbox = inbox
        self._hidden = hidden
        self._scope: Operations | None = None

    def enter(self, scope: Operations) -> None:
        """From now on breakpoint() debugs this scenario, whose deadline stands still at each prompt."""
        self._scope = scope

        def stop(*_arguments: object, **_options: object) -> None:
            self._pdb().set_trace(sys._getframe(1))

        sys.breakpointhook = stop

    def leave(self) -> None:
        """Ends what `enter` began."""
        self._scope = None
        sys.settrace(None)
        sys.breakpointhook = sys.__breakpointhook__

    def post_mortem(self, error: BaseException) -> None:
        """Debugs where an exception was raised, at the innermost line of the scenario's own code."""
        if (trace := self._own(error.__traceback__)) is not None:
            debugger = self._pdb()
            debugger.message(f"{type(error).__name__}: {error}")
            debugger.reset()
            debugger.interaction(None, trace)

    def _pdb(self) -> pdb.Pdb:
        import pdb

        terminal: Any = _Terminal(self._wire, self._inbox, self._paused)
        return pdb.Pdb(stdin=terminal, stdout=terminal, nosigint=True, readrc=False)

    def _paused(self, seconds: float) -> None:
        if scope := self._scope:
            scope.deadline = Deadline(scope.deadline.at + seconds, scope.deadline.clock)

    def _own(self, trace: TracebackType | None) -> TracebackType | None:
        """The traceback with the frames of the scenario's code alone; None if it has none."""
        if trace is None:
            return None
        inner = self._own(trace.tb_next)
        frame: FrameType = trace.tb_frame
        if frame.f_code.co_filename.startswith(self._hidden):
            return inner
        return TracebackType(inner, frame, trace.tb_lasti, trace.tb_lineno)


class _Terminal(io.TextIOBase):
    """The host's terminal as pdb's stdin and stdout."""

    def __init__(self, wire: Wire, inbox: Inbox, paused: Callable[[float], None]) -> None:
        self._wire = wire
        self._inbox = inbox
        self._paused = paused
        self._said = ""

    def readable(self) -> bool:
        """Always."""
        return True

    def writable(self) -> bool:
        """Always."""
        return True

    def write(self, text: str) -> int:
        """Keeps the text for the next prompt."""
        self._said = (self._said + text)[-MAX_SHOWN:]
        return len(text)

    def readline(self, _size: int | None = -1, /) -> str:  # type: ignore[override]  # as io.TextIOBase has it
        """One line of the person at the terminal; empty, which ends the debugger, when there is no more."""
        started = time.monotonic()
        self._wire.send("prompt", text=self._said)
        self._said = ""
        command = self._inbox.receive()
        self._paused(time.monotonic() - started)
        if command is None or command["cmd"] != "line":
            self._inbox.unread(command)
            return ""
        return str(command.get("text", ""))


def refuse(name: str) -> None:
    """From now on breakpoint() raises `NoTerminalError`, which says what to do instead."""
    text = REFUSED.format(name=name) if name else IN_CHILD

    def stop(*_arguments: object, **_options: object) -> None:
        raise NoTerminalError(text)

    sys.breakpointhook = stop

"""What a scenario is doing, seen from another thread: the operation it waits for, the line it is at."""

from __future__ import annotations

import sys
import traceback
from dataclasses import dataclass

from agent.collect import shown_file
from agent.protocol import MAX_DETAIL, cut
from agent.underway import idle, longest
from agent.verdict import AGENT_FOLDER, LIBRARY_FOLDER

FRAMES = 12
OUTSIDE = (AGENT_FOLDER, LIBRARY_FOLDER, "<")
STANDBY = "standby.py"
"""The interpreter's own file, the outermost frame in the guest."""
MAX_OPERATION = 1000  # characters


@dataclass(frozen=True)
class Doing:
    """What a scenario is doing.

    Attributes:
        operation: the operation whose call has not returned; empty while the scenario runs its own code.
        seconds: how long the call has lasted.
        where: the line of the scenario's own code, `fault.py:12 in reads`.
        stack: the scenario's own frames, as text.
        idle: seconds since the last operation returned; None while anything but the scenario's own code runs.
    """

    operation: str = ""
    seconds: float = 0.0
    where: str = ""
    stack: str = ""
    idle: float | None = None


def doing(thread: int) -> Doing:
    """What the scenario of a thread is doing, in this thread or in others that it waits for."""
    frame = sys._current_frames().get(thread)
    frames = traceback.extract_stack(frame) if frame else []
    own = [one for one in frames if not (one.filename.startswith(OUTSIDE) or one.filename.endswith(STANDBY))]
    where = f"{shown_file(own[-1].filename)}:{own[-1].lineno} in {own[-1].name}" if own else ""
    stack = cut("".join(traceback.format_list(own[-FRAMES:])), MAX_DETAIL)
    if own and frames[-1] is own[-1]:
        return Doing("", 0.0, where, stack, idle())  # in code of its own, whatever its other threads do
    operation, seconds = longest()
    return Doing(cut(operation, MAX_OPERATION), seconds, where, stack)

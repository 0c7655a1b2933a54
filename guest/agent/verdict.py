"""Turns what a scenario raised into an outcome, a one-line message and a traceback without agent frames."""

from __future__ import annotations

import os
import traceback
from dataclasses import dataclass, replace
from types import TracebackType

from agent.errors import SkipScenario, Win32Error
from agent.imports import missing_module
from agent.operations import Operations
from agent.protocol import MAX_DETAIL, MAX_MESSAGE, cut

AGENT_FOLDER = cut.__code__.co_filename.removesuffix("protocol.py")
"""As tracebacks have it: the archive is compiled with names that are relative to it, unlike `__file__`."""
LIBRARY_FOLDER = os.path.join(os.path.dirname(os.__file__), "")  # noqa: PTH118, PTH120
MAX_LOCALS = 20
MAX_LOCAL = 200  # characters


@dataclass(frozen=True)
class ScenarioVerdict:
    """How a scenario ended; `outcome` is one of passed, failed, error, skipped."""

    outcome: str
    message: str = ""
    detail: str = ""


PASSED = ScenarioVerdict("passed")


def verdict(error: BaseException) -> ScenarioVerdict:
    """AssertionError means failed, `SkipScenario` and a limit of the guest skipped, anything else error."""
    if isinstance(error, SkipScenario):
        return ScenarioVerdict("skipped", cut(_text(error), MAX_MESSAGE))
    if isinstance(error, Win32Error) and error.limit:
        return ScenarioVerdict("skipped", cut(f"Not shown on this guest: {error.limit}", MAX_MESSAGE))
    shown = traceback.TracebackException.from_exception(error)
    _hide_agent(shown)
    frames = shown.stack
    text = _text(error)
    detail = "".join(shown.format()) + _locals(error.__traceback__)
    failed = isinstance(error, AssertionError)
    message = text if failed else f"{type(error).__name__}: {text}".removesuffix(": ")
    if isinstance(error, ModuleNotFoundError):
        message = missing_module(error, ())
    if not message:
        message = (frames[-1].line if frames else "") or "assertion failed"
    return ScenarioVerdict(
        "failed" if failed else "error", cut(message, MAX_MESSAGE), cut(detail, MAX_DETAIL)
    )


def _hide_agent(shown: traceback.TracebackException | None) -> None:
    """Drops the agent's frames from an exception and from its causes and contexts."""
    while shown is not None:
        shown.stack = traceback.StackSummary.from_list(
            [frame for frame in shown.stack if not frame.filename.startswith(AGENT_FOLDER)]
        )
        shown = shown.__cause__ or shown.__context__


def _locals(trace: TracebackType | None) -> str:
    """The variables of the innermost frame of the scenario's own code, for the report of a plain `assert`."""
    innermost = None
    while trace is not None:
        if not trace.tb_frame.f_code.co_filename.startswith((AGENT_FOLDER, LIBRARY_FOLDER)):
            innermost = trace.tb_frame
        trace = trace.tb_next
    if innermost is None:
        return ""
    lines = [
        f"  {name} = {_shown(value)}"
        for name, value in list(innermost.f_locals.items())[:MAX_LOCALS]
        if not (name.startswith("__") or isinstance(value, Operations))
    ]
    return "\n".join(["Variables:", *lines, ""]) if lines else ""


def returned(value: object) -> ScenarioVerdict:
    """For a scenario that returned something: a check meant for a caller that there is not."""
    return ScenarioVerdict(
        "error", cut(f"A scenario returns nothing: use assert. It returned {_shown(value)}.", MAX_MESSAGE)
    )


def in_thread(name: str, error: BaseException) -> ScenarioVerdict:
    """For what a thread of the scenario raised and nobody caught."""
    ended = verdict(error)
    return replace(ended, message=cut(f"in thread {name}: {ended.message}", MAX_MESSAGE))


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as second:  # noqa: BLE001  the scenario's own class may raise anything here
        return f"its __str__ raised {type(second).__name__}"


def _shown(value: object) -> str:
    try:
        return cut(repr(value), MAX_LOCAL)
    except BaseException as error:  # noqa: BLE001  a __repr__ may raise anything; the report is sent anyway
        return f"<repr raised {type(error).__name__}>"

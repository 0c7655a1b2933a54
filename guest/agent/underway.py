"""Which call each thread of the agent is in, for another thread that asks.

A call counts while it is inside the export that its journal line names: CreateFile inside CreateFileW.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_journalled: dict[int, tuple[str, str]] = {}
_inside: dict[int, tuple[str, float]] = {}
_returned: dict[tuple[int, str], tuple[str, float]] = {}
"""Thread and export -> the operation that was journalled at the export's last return, and when that was."""
_NONE = ("", "")
_processes: list[Callable[[], bool]] = []
_stopping: dict[str, float] = {}


def journalled(operation: str, detail: str) -> None:
    """This thread is about to issue an operation."""
    _journalled[threading.get_ident()] = (operation, detail)


def enter(export: str) -> int:
    """This thread calls an export; returns the thread's number for `leave`."""
    thread = threading.get_ident()
    _inside[thread] = (export, time.perf_counter())
    return thread


def leave(thread: int) -> None:
    """The call has returned. Every call comes here; what that means is left to `idle`, asked seldom."""
    export, _ = _inside.pop(thread, ("", 0.0))
    _returned[thread, export] = (_journalled.get(thread, _NONE)[0], time.perf_counter())


def process_started(runs: Callable[[], bool]) -> None:
    """A second process has started, whose calls are not seen here; `runs` says whether it still exists."""
    _processes[:] = [*(one for one in _processes if one()), runs]


def process_runs() -> bool:
    """Whether a second process exists."""
    return any(runs() for runs in list(_processes))


def idle() -> float | None:
    """Seconds since the last operation returned; None while one may be under way, or before the first."""
    if longest()[0] or process_runs():
        return None
    ends = [when for (_, export), (operation, when) in list(_returned.items()) if _names(operation, export)]
    return round(time.perf_counter() - max(ends), 3) if ends else None


def stop_asked(service: str) -> None:
    """A service is about to be asked to stop."""
    _stopping[service] = time.perf_counter()


def since_stop(service: str) -> float | None:
    """Seconds since a service was asked to stop; None if it never was."""
    asked = _stopping.get(service)
    return round(time.perf_counter() - asked, 3) if asked is not None else None


def longest() -> tuple[str, float]:
    """The operation whose call was entered first, and the seconds since then; ("", 0.0) if there is none."""
    now, found = time.perf_counter(), []
    for thread, (export, since) in list(_inside.items()):
        operation, detail = _journalled.get(thread, _NONE)
        if _names(operation, export):
            found.append((round(now - since, 3), f"{operation} {detail}".strip()))
    seconds, operation = max(found, default=(0.0, ""))
    return operation, seconds


def _names(operation: str, export: str) -> bool:
    """Whether an export is the one that a journal line's operation names."""
    return operation != "" and export.removesuffix("W") == operation

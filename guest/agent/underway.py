"""Which call each thread of the agent is in, for another thread that asks.

A call counts while it is inside the export that its journal line names: CreateFile inside CreateFileW.
"""

from __future__ import annotations

import threading
import time

_journalled: dict[int, tuple[str, str]] = {}
_inside: dict[int, tuple[str, float]] = {}


def journalled(operation: str, detail: str) -> None:
    """This thread is about to issue an operation."""
    _journalled[threading.get_ident()] = (operation, detail)


def enter(export: str) -> int:
    """This thread calls an export; returns the thread's number for `leave`."""
    thread = threading.get_ident()
    _inside[thread] = (export, time.perf_counter())
    return thread


def leave(thread: int) -> None:
    """The call has returned."""
    _inside.pop(thread, None)


def longest() -> tuple[str, float]:
    """The operation whose call was entered first, and the seconds since then; ("", 0.0) if there is none."""
    now, found = time.perf_counter(), []
    for thread, (export, since) in list(_inside.items()):
        operation, detail = _journalled.get(thread, ("", ""))
        if operation and export.removesuffix("W") == operation:
            found.append((round(now - since, 3), f"{operation} {detail}".strip()))
    seconds, operation = max(found, default=(0.0, ""))
    return operation, seconds

"""Locks between processes: one flock(2) on one file or folder, which dies with the process that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.deadline import Deadline
from harness.host.regular import open_regular

POLL_S = 0.05


@contextmanager
def hold(path: Path, waiting: Callable[[], None] | None = None) -> Iterator[None]:
    """Holds the lock file `path`; creates it and its folder. If `path` is a folder, locks the folder itself.

    Args:
        waiting: called once if another process has the lock, before this one waits for it.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = opened(path)
    try:
        if not take(descriptor):
            if waiting:
                waiting()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def try_hold(path: Path) -> Iterator[bool]:
    """Holds the lock of `path` if it is free, and yields whether it was; waits for nobody.

    Raises:
        OSError: the file cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = opened(path)
    try:
        yield take(descriptor)
    finally:
        os.close(descriptor)


def opened(path: Path, *, create: bool = True) -> int:
    """A descriptor of a lock file, or of a folder; the caller closes it. Child processes do not inherit it.

    Raises:
        OSError: it cannot be opened or made; FileNotFoundError without `create`.
    """
    if path.is_dir():
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if create else 0), 0o600)


def take(descriptor: int) -> bool:
    """Takes the lock if it is free; returns whether it did. Closing the descriptor releases the lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def take_by(descriptor: int, deadline: Deadline, every: float = POLL_S) -> bool:
    """Waits until the lock is free, at most until the deadline; returns whether it is now held."""
    return any(take(descriptor) for _ in deadline.tries(every=every))


def share(descriptor: int) -> None:
    """Holds the lock beside others that share it; `is_shared` detects that."""
    fcntl.flock(descriptor, fcntl.LOCK_SH)


def is_held(path: Path) -> bool:
    """Whether a process holds the lock file `path` alone; waits for nobody."""
    return _refused(path, fcntl.LOCK_SH)


def is_shared(path: Path) -> bool:
    """Whether a process holds the lock file `path`, alone or beside others; waits for nobody."""
    return _refused(path, fcntl.LOCK_EX)


def _refused(path: Path, kind: int) -> bool:
    try:
        with open_regular(path) as file:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False

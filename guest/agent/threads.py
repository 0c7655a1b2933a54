"""Threads of a scenario: those that start together by a barrier, and the exceptions of all others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from agent.deadline import Deadline
from agent.errors import WaitTimeoutError

T = TypeVar("T")


class _Worker(threading.Thread, Generic[T]):
    """One thread; a daemon, so that the process can end while the thread is stuck in a driver call."""

    def __init__(self, barrier: threading.Barrier, index: int, function: Callable[[int], T]) -> None:
        super().__init__(name=f"scenario-{index}", daemon=True)
        self._barrier = barrier
        self._index = index
        self._function = function
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        """Waits for the others, then runs the function."""
        try:
            self._barrier.wait()
            self.results.append(self._function(self._index))
        except BaseException as error:  # noqa: BLE001  the scenario's thread raises it again
            self.error = error


def run_threads(count: int, function: Callable[[int], T], deadline: Deadline) -> list[T]:
    """Runs `function(index)` in `count` threads that start together; the results in order of index.

    Raises:
        WaitTimeoutError: a thread was still running at the deadline.
        BaseException: the first exception of a thread, with the number of others as a note.
    """
    barrier = threading.Barrier(count)
    workers = [_Worker(barrier, index, function) for index in range(count)]
    for worker in workers:
        worker.start()
    budget = deadline.remaining()
    for worker in workers:
        worker.join(deadline.remaining())
    stuck = [worker.name for worker in workers if worker.is_alive()]
    errors = [worker.error for worker in workers if worker.error is not None]
    if errors:
        if len(errors) > 1:
            errors[0].add_note(f"{len(errors) - 1} more of {count} threads raised")
        raise errors[0]
    if stuck:
        raise WaitTimeoutError(f"the end of {', '.join(stuck)} ({len(stuck)} of {count} threads)", budget)
    return [worker.results[0] for worker in workers]


class RaisedInThreads:
    """What threads that a scenario started by itself raise, which would be lost with them.

    Attributes:
        raised: names and exceptions of threads that started in the `with` block.
        before: the same of threads that were there before it: an earlier scenario left them.
    """

    def __init__(self) -> None:
        self.raised: list[tuple[str, BaseException]] = []
        self.before: list[tuple[str, BaseException]] = []

    def __enter__(self) -> Self:
        self._others = set(threading.enumerate())
        self._hook = threading.excepthook
        threading.excepthook = self._take
        return self

    def __exit__(self, *_exception: object) -> None:
        threading.excepthook = self._hook

    def _take(self, args: threading.ExceptHookArgs, /) -> None:
        error = args.exc_value
        if error is None or isinstance(error, SystemExit):  # it ends a thread, as Python defines
            return
        found = self.before if args.thread in self._others else self.raised
        if found is self.before:
            self._hook(args)
        found.append((args.thread.name if args.thread else "a thread", error))

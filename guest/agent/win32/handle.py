"""A kernel handle that is closed exactly once, and the journal hook every driver operation goes through."""

from __future__ import annotations

from typing import Any, Protocol, Self

from agent.deadline import Deadline
from agent.win32.kernel32 import CloseHandle

Call = dict[str, Any]
"""An operation's arguments as JSON; `agent.replay` issues the operation again with them."""


class Record(Protocol):
    """Called *before* an operation is issued; returns once the journal has it."""

    def __call__(self, operation: str, detail: str, call: Call | None = None, /) -> None:
        """`call` is None for an operation that cannot be issued again from its arguments alone."""


UNWINDING = "CloseHandle after error"
AFTER_ERROR = " after error"
"""Ends the name of an operation that only undoes another one, which failed."""


class Scope(Protocol):
    """The part of `agent.operations.Operations` that handles use."""

    @property
    def deadline(self) -> Deadline:
        """Bounds every wait."""

    def record(self, operation: str, detail: str, call: Call | None = None) -> None:
        """Journals an operation that is about to be issued."""


class Handle:
    """Owns one handle; use it in a `with` statement. `value` is the number to pass to raw calls.

    `number` identifies the handle in the journal and is not used twice; 0 for a handle that no replay opens.
    """

    def __init__(self, value: int, name: str, scope: Scope, number: int = 0) -> None:
        self.value = value
        self.name = name
        self.number = number
        self._scope = scope
        self._open = True
        self._failed = False
        """Whether the last operation on the handle failed, as it does when it crashed the driver."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        # An error that the crash caused may be caught by the scenario, or may end the block: the journal then
        # shows the operation that failed before the CloseHandle that follows.
        self._close("CloseHandle" if kind is None and not self._failed else UNWINDING)

    @property
    def is_open(self) -> bool:
        """Whether `close` has not been called yet."""
        return self._open

    def close(self) -> None:
        """Closes the handle; a second call does nothing.

        Raises:
            Win32Error: CloseHandle failed.
        """
        self._close(UNWINDING if self._failed else "CloseHandle")

    def _close(self, operation: str) -> None:
        if not self._open:
            return
        self._open = False
        self._scope.record(operation, self.name, {"on": self.number} if self.number else None)
        CloseHandle.check(f"CloseHandle({self.name})", self.value)

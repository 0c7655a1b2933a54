"""A second process of a scenario: same interpreter, same zipapp, JSON lines over its pipes.

The serial port of the journal has one owner, the first process. So a child asks: it sends each operation
to its parent and goes on when the parent has journalled it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

from agent.operations import Operations


class Child(Operations):
    """What a spawned function receives as its first argument: operations, and messages to its parent."""

    def send(self, message: Any) -> None:
        """Sends a JSON value to the parent."""
        raise NotImplementedError

    def receive(self, timeout_s: float | None = None) -> Any:
        """The parent's next message; raises `WaitTimeoutError`."""
        raise NotImplementedError


class Process:
    """The parent's side of a second process.

    Attributes:
        pid: its process id.
    """

    pid: int

    @classmethod
    def start(cls, function: Callable[..., Any], arguments: Sequence[Any], parent: Operations) -> Self:
        """Starts it; see `Context.spawn`."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.kill()

    def send(self, message: Any) -> None:
        """Sends a JSON value to the child's `receive`."""
        raise NotImplementedError

    def receive(self, timeout_s: float | None = None) -> Any:
        """The child's next message.

        Raises:
            WaitTimeoutError: none came in time.
            ChildError: the child ended or raised instead; carries its traceback.
        """
        raise NotImplementedError

    def result(self, timeout_s: float | None = None) -> Any:
        """Waits for the function's end; its return value (JSON). Raises as `receive` does."""
        raise NotImplementedError

    def kill(self) -> None:
        """TerminateProcess, and waits until the process is gone; does nothing for one that has ended."""
        raise NotImplementedError

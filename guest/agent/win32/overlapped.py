"""One overlapped operation: its OVERLAPPED, its event and its memory, kept alive until the operation ends."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

from agent.errors import WaitTimeoutError, Win32Error
from agent.win32 import constants, kernel32
from agent.win32.buffers import Buffer, partial, require_room, require_taken
from agent.win32.handle import Scope
from agent.win32.layouts import DWORD, OverlappedLayout

_in_flight: set[Pending] = set()
"""Pending operations: the kernel may write to their memory, so it outlives a scenario that drops them."""


class Pending:
    """A started operation. It ends by completion or cancellation; `wait` may be called any number of times.
    `operation` is the text that errors carry.
    """

    def __init__(
        self,
        operation: str,
        handle: int,
        source: Buffer | None,
        output: Buffer | None,
        scope: Scope,
        *,
        writes: bool = False,
    ) -> None:
        self.operation = operation
        self._handle = handle
        self._source = source
        self._output = output
        self._scope = scope
        self._writes = writes
        self._overlapped = OverlappedLayout()
        self._event = kernel32.CreateEventW.check("CreateEvent", None, True, False, None)
        self._overlapped.hEvent = self._event
        self._error: int | None = None  # Win32 error, 0 for success, None while it is pending
        self.count = 0

    def start(self, issue: Callable[[int], tuple[int, int]]) -> None:
        """Issues the operation; `issue` takes the OVERLAPPED's address and returns (result, last error).

        Raises:
            Win32Error: the call failed at once.
        """
        _in_flight.add(self)
        result, error = issue(ctypes.addressof(self._overlapped))
        if not result and error != constants.ERROR_IO_PENDING:
            self._ended(error)
            raise Win32Error(error, self.operation)

    @property
    def done(self) -> bool:
        """Whether it has ended (completed, failed or cancelled); never blocks."""
        return self._error is not None or self._ended_within(0)

    def ends_within(self, timeout_s: float) -> bool:
        """Waits at most so many seconds for the end; returns whether it came, however the operation ended."""
        return self._error is not None or self._ended_within(timeout_s)

    def wait(self, timeout_s: float | None = None) -> bytes:
        """Waits for the end; returns the output (empty for a write).

        Raises:
            WaitTimeoutError: still pending after `timeout_s` seconds, or at the scenario's deadline.
            AssertionError: the driver reported more bytes than the buffer has, or than were written.
            Win32Error: it failed; 995 (ERROR_OPERATION_ABORTED) when it was cancelled.
        """
        budget = self._scope.deadline.seconds(timeout_s)
        if self._error is None and not self._ended_within(budget):
            raise WaitTimeoutError(f"the end of {self.operation}", budget)
        if self._error:
            delivered = partial(self._error, self._output, self.count)
            raise Win32Error(self._error, self.operation, delivered, self.count)
        if self._writes:
            require_taken(self.operation, self.count, len(self._source or ()))
            return b""
        require_room(self.operation, self.count, len(self._output or ()))
        return ctypes.string_at(self._output, self.count) if self._output else b""

    def cancel(self) -> bool:
        """Cancels this operation by CancelIoEx; returns False if it had ended already (ERROR_NOT_FOUND)."""
        self._scope.record("CancelIoEx", self.operation)
        result, error = kernel32.CancelIoEx.call(self._handle, ctypes.addressof(self._overlapped))
        if not result and error != constants.ERROR_NOT_FOUND:
            raise Win32Error(error, f"CancelIoEx of {self.operation}")
        return bool(result)

    def _ended_within(self, timeout_s: float) -> bool:
        waited, _ = kernel32.WaitForSingleObject.call(self._event, int(timeout_s * 1000))
        if waited == constants.WAIT_TIMEOUT:
            return False
        count = DWORD(0)
        result, error = kernel32.GetOverlappedResult.call(
            self._handle, ctypes.addressof(self._overlapped), ctypes.addressof(count), False
        )
        self.count = count.value
        self._ended(0 if result else error)
        return True

    def _ended(self, error: int) -> None:
        self._error = error
        _in_flight.discard(self)
        kernel32.CloseHandle.call(self._event)

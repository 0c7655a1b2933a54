"""DLL functions bound at their first call, so that importing this package loads nothing.

A `Function` names the DLL, the export and its exact types, and knows which results mean failure.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from agent.errors import NtStatusError, Win32Error
from agent.underway import enter, leave
from agent.win32.layouts import INVALID_HANDLE_VALUE

Failed = Callable[[int], bool]


def never(_result: int) -> bool:
    """For functions for which no result means failure."""
    return False


def zero(result: int) -> bool:
    """For functions that return FALSE or NULL on failure."""
    return result == 0


def invalid_handle(result: int) -> bool:
    """For functions that return INVALID_HANDLE_VALUE (or NULL) on failure."""
    return result in (0, INVALID_HANDLE_VALUE)


class Function:
    """One export. `call` gives (result, last error); `check` raises `Win32Error` on a failing result.

    ctypes keeps a copy of the last error for each thread (`use_last_error`), so that the interpreter cannot
    overwrite it between the call and GetLastError.
    """

    def __init__(self, dll: str, name: str, restype: Any, *argtypes: Any, failed: Failed = zero) -> None:
        self.dll = dll
        self.name = name
        self.restype = restype
        self.argtypes = argtypes
        self.failed = failed
        self._bound: Callable[..., Any] | None = None

    def call(self, *arguments: Any) -> tuple[int, int]:
        """Calls the export: (result as a number, last error of this thread)."""
        if sys.platform != "win32":
            raise RuntimeError(f"{self.dll}!{self.name} can be called on Windows only")
        bound = self._bound or self._bind()
        thread = enter(self.name)
        try:
            ctypes.set_last_error(0)
            result = bound(*arguments)
            return int(result or 0), ctypes.get_last_error()
        finally:
            leave(thread)

    def check(self, operation: str, *arguments: Any) -> int:
        """Calls the export and returns its result.

        Raises:
            Win32Error: the result means failure; `operation` says what was tried.
        """
        result, error = self.call(*arguments)
        if self.failed(result):
            raise Win32Error(error, operation)
        return result

    def _bind(self) -> Callable[..., Any]:
        if sys.platform != "win32":
            raise RuntimeError(f"{self.dll} exists on Windows only")
        bound = getattr(ctypes.WinDLL(self.dll, use_last_error=True), self.name)
        bound.restype = self.restype
        bound.argtypes = self.argtypes
        self._bound = bound
        return self._bound


def check_status(status: int, operation: str) -> int:
    """Returns an NTSTATUS that means success or information.

    Raises:
        NtStatusError: it is a warning or an error (severity bits 2 and 3).
    """
    if status & 0x80000000:
        raise NtStatusError(status, operation)
    return status

"""`Guest`: the protocol by which the runner uses the machine it runs on.

`agent.windows.WindowsGuest` implements it.
"""

from __future__ import annotations

from typing import Protocol

from agent.journal import WriteLine
from agent.service import Making
from agent.win32.handle import Scope


class Guest(Protocol):
    """The machine: its debug channel, its serial port, its service control manager.

    Every method raises `Win32Error` when Windows refuses the call.
    """

    def open_serial(self, path: str) -> WriteLine:
        """Opens a serial port such as `\\\\.\\COM2`; returns a function that writes a line to it."""

    def dbgprint(self, text: str) -> None:
        """Sends text through ntdll!DbgPrint."""

    def load(self, service: str, path: str, scope: Scope, made: Making) -> None:
        """Installs and starts a driver, after removing a service of the same name."""

    def start(self, service: str, scope: Scope) -> None:
        """Starts a driver's service that the agent did not install; does nothing if it runs already."""

    def unload(self, service: str, scope: Scope) -> None:
        """Stops and deletes a driver's service; does nothing if there is none."""

    def is_running(self, service: str, scope: Scope) -> bool:
        """Whether the service exists and runs."""

    def is_alive(self, service: str, scope: Scope) -> bool:
        """Whether the service exists and has not stopped: it runs, starts or is being stopped."""

    def is_stopping(self, service: str, scope: Scope) -> bool:
        """Whether the service was asked to stop and has not: its driver's unload routine has not returned.

        Wine's service control manager also says so of a driver whose process died in that routine.
        """

    def exit_code(self, service: str, scope: Scope, *, restarted: bool = False) -> int:
        """The Win32 code with which a service ended by itself, as 1067 when its process died.

        0 for a service that runs, that was stopped, that never ran, or that does not exist.

        Args:
            restarted: whether it may have been stopped and started since it was asked for last.
        """

    def hello(self, device: str, code: int, size: int, scope: Scope) -> bytes:
        """Sends the contract's HELLO control code; returns up to `size` bytes of answer."""

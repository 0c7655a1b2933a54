"""`WindowsGuest`: implements `agent.guest.Guest` on Windows and on Wine."""

from __future__ import annotations

import ctypes
import time

from agent.errors import WaitTimeoutError, Win32Error
from agent.hosting import Hosts
from agent.journal import WriteLine
from agent.marker import MAX_PIECE
from agent.service import POLL_S, Making, ServiceManager, State, Status
from agent.win32 import constants, kernel32, ntdll
from agent.win32.device import Device
from agent.win32.handle import AFTER_ERROR, Scope
from agent.win32.layouts import DWORD


class WindowsGuest:
    """Implements `agent.guest.Guest` with kernel32, ntdll and the service control manager."""

    def __init__(self) -> None:
        self._hosts = Hosts()

    def open_serial(self, path: str) -> WriteLine:
        """Opens the port, which stays open; each line is written by one WriteFile."""
        handle = kernel32.CreateFileW.check(
            f"CreateFile({path})",
            path,
            constants.GENERIC_WRITE,
            0,
            None,
            constants.OPEN_EXISTING,
            0,
            None,
        )

        def write(line: bytes) -> None:
            written = DWORD(0)
            kernel32.WriteFile.check(
                f"WriteFile({path})", handle, line, len(line), ctypes.addressof(written), None
            )
            if written.value != len(line):
                raise OSError(f"{path} took {written.value} of {len(line)} bytes")

        return write

    def dbgprint(self, text: str) -> None:
        """Prints the text in pieces that DbgPrint accepts; with `%s`, so that it is no format string."""
        content = text.encode("ascii", "replace")
        for start in range(0, len(content), MAX_PIECE):
            ntdll.DbgPrint.call(b"%s", content[start : start + MAX_PIECE])

    def load(self, service: str, path: str, scope: Scope, made: Making) -> None:
        """Removes a service of that name, creates the new one and starts it; removes it if that fails."""
        self.unload(service, scope)
        with ServiceManager(scope) as manager, manager.create(service, path, made) as created:
            try:
                created.start()
            except Win32Error:
                created.delete(after=AFTER_ERROR)
                raise

    def start(self, service: str, scope: Scope) -> None:
        """Starts the service, unless a device that the installation brought up has started it already."""
        self._hosts.forget()
        with ServiceManager(scope) as manager, manager.open(service) as installed:
            if installed.status().state is not State.RUNNING:
                installed.start()

    def unload(self, service: str, scope: Scope) -> None:
        """Stops and deletes the service and waits until its last handle is closed and the name is free."""
        self._hosts.forget()
        with ServiceManager(scope) as manager:
            try:
                with manager.open(service) as existing:
                    existing.remove()
            except Win32Error as error:
                if error.code == constants.ERROR_SERVICE_DOES_NOT_EXIST:
                    return
                raise
            _wait_until_gone(manager, service, scope)

    def is_running(self, service: str, scope: Scope) -> bool:
        """Whether the service exists and runs."""
        status = _status(service, scope)
        return status is not None and status.state is State.RUNNING

    def is_alive(self, service: str, scope: Scope) -> bool:
        """See `Guest`."""
        status = _status(service, scope)
        return status is not None and status.state is not State.STOPPED

    def is_stopping(self, service: str, scope: Scope) -> bool:
        """See `Guest`."""
        status = _status(service, scope)
        return status is not None and status.state is State.STOP_PENDING

    def exit_code(self, service: str, scope: Scope, *, restarted: bool = False) -> int:
        """See `Guest`. A stop through the service control manager leaves 0."""
        if not restarted and self._hosts.run(service):
            return 0
        handles = self._hosts.opened()
        status = _status(service, scope)
        self._hosts.keep(service if status and status.state is State.RUNNING else "", handles)
        if status is None or status.state is not State.STOPPED:
            return 0
        return 0 if status.exit_code == constants.ERROR_SERVICE_NEVER_STARTED else status.exit_code

    def hello(self, device: str, code: int, size: int, scope: Scope) -> bytes:
        """Sends the control code to the driver's device; returns the output."""
        with Device.open(device, scope) as opened:
            return opened.ioctl(code, out=size)


def _status(service: str, scope: Scope) -> Status | None:
    """State and exit codes of a service; None if it does not exist."""
    with ServiceManager(scope) as manager:
        try:
            with manager.open(service) as existing:
                return existing.status()
        except Win32Error as error:
            if error.code == constants.ERROR_SERVICE_DOES_NOT_EXIST:
                return None
            raise


def _wait_until_gone(manager: ServiceManager, service: str, scope: Scope) -> None:
    budget = scope.deadline.remaining()
    while not scope.deadline.expired:
        try:
            manager.open(service).close()
        except Win32Error as error:
            if error.code == constants.ERROR_SERVICE_DOES_NOT_EXIST:
                return
            raise
        time.sleep(POLL_S)
    raise WaitTimeoutError(f"the removal of service {service}", budget)

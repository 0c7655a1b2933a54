"""Kernel services through the service control manager: create, start, stop, delete, query.

States and codes: winsvc.h. Starting a driver returns when its DriverEntry has returned.
"""

from __future__ import annotations

import ctypes
import enum
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from agent.deadline import Deadline
from agent.errors import WaitTimeoutError
from agent.underway import stop_asked
from agent.win32 import advapi32
from agent.win32.handle import Scope
from agent.win32.layouts import DWORD, ServiceStatusProcess

SC_MANAGER_ALL_ACCESS = 0xF003F
SERVICE_ALL_ACCESS = 0xF01FF
TYPES = {"kernel": 1, "file-system": 2}
STARTS = {"boot": 0, "system": 1, "auto": 2, "demand": 3}
SERVICE_ERROR_NORMAL = 1
SERVICES = r"SYSTEM\CurrentControlSet\Services"
SERVICE_CONTROL_STOP = 1
SC_STATUS_PROCESS_INFO = 0
REFUSED_S = 5.0
"""Seconds after an accepted stop in which the state of a driver that stops changes."""
POLL_S = 0.02  # the service control manager has no wait for a driver's state


class State(enum.IntEnum):
    """dwCurrentState of a service."""

    STOPPED = 1
    START_PENDING = 2
    STOP_PENDING = 3
    RUNNING = 4
    CONTINUE_PENDING = 5
    PAUSE_PENDING = 6
    PAUSED = 7


@dataclass(frozen=True)
class Status:
    """The result of QueryServiceStatusEx; `exit_code` is the Win32 exit code of the service."""

    state: State
    exit_code: int
    service_exit_code: int


@dataclass(frozen=True)
class Making:
    """How a driver's service is made.

    Attributes:
        type: a key of `TYPES`.
        start: a key of `STARTS`.
        parameters: registry value's name -> value. A name without a backslash is below the service's subkey
            `Parameters`, one with a backslash below the service's own key.
    """

    type: str = "kernel"
    start: str = "demand"
    parameters: Mapping[str, int | str | Sequence[str]] = field(default_factory=dict)


def write_parameters(service: str, parameters: Mapping[str, int | str | Sequence[str]]) -> None:
    """Writes a service's registry values: REG_DWORD for a number, REG_SZ for a text, else REG_MULTI_SZ."""
    if not parameters or sys.platform != "win32":
        return
    import winreg

    for name, value in parameters.items():
        below, _, last = (name if "\\" in name else f"Parameters\\{name}").rpartition("\\")
        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, rf"{SERVICES}\{service}\{below}") as key:
            if isinstance(value, int):
                winreg.SetValueEx(key, last, 0, winreg.REG_DWORD, value)
            elif isinstance(value, str):
                winreg.SetValueEx(key, last, 0, winreg.REG_SZ, value)
            else:
                winreg.SetValueEx(key, last, 0, winreg.REG_MULTI_SZ, list(value))


class ServiceManager:
    """An open service control manager; use it in a `with` statement."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._handle = advapi32.OpenSCManagerW.check("OpenSCManager", None, None, SC_MANAGER_ALL_ACCESS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        advapi32.CloseServiceHandle.call(self._handle)

    def create(self, name: str, path: str, made: Making | None = None) -> Service:
        """Creates a driver's service for the `.sys` at `path`, with its registry values.

        Raises:
            Win32Error: 1073 when the service exists, 1072 when it is marked for deletion, or another code.
        """
        made = made or Making()
        self._scope.record("CreateService", f"{name} {path}")
        handle = advapi32.CreateServiceW.check(
            f"CreateService({name})",
            self._handle,
            name,
            name,
            SERVICE_ALL_ACCESS,
            TYPES[made.type],
            STARTS[made.start],
            SERVICE_ERROR_NORMAL,
            path,
            None,
            None,
            None,
            None,
            None,
        )
        write_parameters(name, made.parameters)
        return Service(name, handle, self._scope)

    def open(self, name: str) -> Service:
        """Opens an existing service.

        Raises:
            Win32Error: 1060 when there is none of this name.
        """
        handle = advapi32.OpenServiceW.check(f"OpenService({name})", self._handle, name, SERVICE_ALL_ACCESS)
        return Service(name, handle, self._scope)


class Service:
    """An open service; use it in a `with` statement: a deleted service exists until its handles close."""

    def __init__(self, name: str, handle: int, scope: Scope) -> None:
        self.name = name
        self._handle = handle
        self._scope = scope
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the handle; a second call does nothing."""
        if self._open:
            self._open = False
            advapi32.CloseServiceHandle.call(self._handle)

    def start(self) -> None:
        """Starts it; raises `Win32Error`: 1056 when it runs already, or the code of DriverEntry's status."""
        self._scope.record("StartService", self.name)
        advapi32.StartServiceW.check(f"StartService({self.name})", self._handle, 0, None)

    def stop(self) -> None:
        """Asks it to stop; raises `Win32Error` (1062 when it does not run). Then `wait_for(STOPPED)`."""
        self._scope.record("ControlService", f"{self.name} stop")
        stop_asked(self.name)
        status = ServiceStatusProcess()
        advapi32.ControlService.check(
            f"ControlService({self.name}, stop)", self._handle, SERVICE_CONTROL_STOP, ctypes.addressof(status)
        )

    def delete(self, after: str = "") -> None:
        """Marks it for deletion; raises `Win32Error` (1072 when it is marked already).

        after: `AFTER_ERROR` if it did not start.
        """
        self._scope.record(f"DeleteService{after}", self.name)
        advapi32.DeleteService.check(f"DeleteService({self.name})", self._handle)

    def remove(self) -> None:
        """Stops it if it runs, waits until it has stopped, and deletes it; raises `Win32Error`."""
        if self.status().state is not State.STOPPED:
            self.stop()
            self._begins_to_stop()
            self.wait_for(State.STOPPED)
        self.delete()

    def _begins_to_stop(self) -> None:
        """Wine accepts the stop of a driver without an unload routine, which then goes on running."""
        deadline = Deadline.after(self._scope.deadline.seconds(REFUSED_S))
        while self.status().state is State.RUNNING:
            if deadline.expired:
                why = "goes on RUNNING, as a driver without an unload routine does; its stop"
                raise WaitTimeoutError(f"service {self.name} {why}", REFUSED_S)
            time.sleep(POLL_S)

    def status(self) -> Status:
        """Its state and exit codes now."""
        layout = ServiceStatusProcess()
        needed = DWORD(0)
        advapi32.QueryServiceStatusEx.check(
            f"QueryServiceStatusEx({self.name})",
            self._handle,
            SC_STATUS_PROCESS_INFO,
            ctypes.addressof(layout),
            ctypes.sizeof(layout),
            ctypes.addressof(needed),
        )
        return Status(State(layout.dwCurrentState), layout.dwWin32ExitCode, layout.dwServiceSpecificExitCode)

    def wait_for(self, state: State, timeout_s: float | None = None) -> Status:
        """Waits until it is in `state`; raises `WaitTimeoutError`."""
        budget = self._scope.deadline.seconds(timeout_s)
        deadline = Deadline.after(budget)
        while (status := self.status()).state is not state:
            if deadline.expired:
                raise WaitTimeoutError(f"service {self.name} is {status.state.name}; {state.name}", budget)
            time.sleep(POLL_S)
        return status

"""The processes that drivers run in, held open: while all of them run, no driver has ended by itself.

On Wine each driver runs in a winedevice.exe, and its service ends by itself only with that process. To ask
the service control manager is a conversation with another process, 20 ms in an emulated guest; processes that
are held open are looked at by one call. The service control manager names no process of a driver: all
winedevice.exe are held. On Windows there is none: nothing is known here, and the service is asked for.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

from agent.win32 import constants, kernel32
from agent.win32.layouts import HANDLE, INVALID_HANDLE_VALUE, ProcessEntry

HOST = "winedevice.exe"
MAX_HOSTS = 64
"""MAXIMUM_WAIT_OBJECTS (winnt.h): what one call waits for."""
MAX_PROCESSES = 10_000
SNAPSHOT_PROCESSES = 2  # TH32CS_SNAPPROCESS, tlhelp32.h


def open_hosts() -> list[int]:
    """Handles of all running hosts of drivers; none if there are too many, or one cannot be opened."""
    snapshot, _ = kernel32.CreateToolhelp32Snapshot.call(SNAPSHOT_PROCESSES, 0)
    if snapshot in (0, INVALID_HANDLE_VALUE):
        return []
    numbers: list[int] = []
    entry = ProcessEntry(dwSize=ctypes.sizeof(ProcessEntry))
    more, _ = kernel32.Process32FirstW.call(snapshot, ctypes.addressof(entry))
    while more and len(numbers) <= MAX_PROCESSES:
        if entry.name.lower() == HOST:
            numbers.append(entry.th32ProcessID)
        more, _ = kernel32.Process32NextW.call(snapshot, ctypes.addressof(entry))
    kernel32.CloseHandle.call(snapshot)
    handles = [kernel32.OpenProcess.call(constants.SYNCHRONIZE, 0, number)[0] for number in numbers]
    if all(handles) and len(handles) <= MAX_HOSTS:
        return handles
    for handle in filter(None, handles):
        kernel32.CloseHandle.call(handle)
    return []


def all_run(handles: Sequence[int]) -> bool:
    """Whether none of these processes has ended; an error counts as an end."""
    array = (HANDLE * len(handles))(*handles)
    result, _ = kernel32.WaitForMultipleObjects.call(len(handles), ctypes.addressof(array), 0, 0)
    return result == constants.WAIT_TIMEOUT


def close(handle: int) -> None:
    """Closes a handle."""
    kernel32.CloseHandle.call(handle)


class Hosts:
    """The hosts of drivers that ran when a service was last seen running. Open handles keep their ids."""

    def __init__(
        self,
        open_hosts: Callable[[], list[int]] = open_hosts,
        all_run: Callable[[Sequence[int]], bool] = all_run,
        close: Callable[[int], None] = close,
    ) -> None:
        self._open, self._all_run, self._close = open_hosts, all_run, close
        self._service = ""
        self._handles: list[int] = []

    def run(self, service: str) -> bool:
        """Whether the service was seen running, and all hosts of that time still run."""
        return service == self._service and bool(self._handles) and self._all_run(self._handles)

    def opened(self) -> list[int]:
        """The hosts that run now, to be opened before the service is asked for, and given to `keep`."""
        self.forget()
        return self._open()

    def keep(self, service: str, handles: list[int]) -> None:
        """The service ran after these hosts were opened; an empty name: it did not run, or is not known."""
        self._service, self._handles = service, handles
        if not service:
            self.forget()

    def forget(self) -> None:
        """A service is started or stopped."""
        for handle in self._handles:
            self._close(handle)
        self._service, self._handles = "", []

"""`Operations`: all calls by which a scenario, in either of its processes, reaches the driver."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from agent.deadline import Deadline
from agent.errors import Win32Error
from agent.threads import run_threads
from agent.win32 import constants
from agent.win32.device import Device
from agent.win32.event import Event
from agent.win32.handle import Call, Handle, Record
from agent.win32.interfaces import interface_paths
from agent.win32.memory import HeapMemory, Memory
from agent.win32.native import NativeDevice
from agent.win32.token import restricted_user

T = TypeVar("T")
HandleT = TypeVar("HandleT", bound=Handle)


class Operations:
    """All calls that reach the driver; each operation is journalled before it is issued.

    Attributes:
        deadline: when the scenario must be done; a wait without a timeout of its own ends then.
    """

    def __init__(self, record: Record, deadline: Deadline) -> None:
        self.deadline = deadline
        self._write = record
        self._handles: list[Handle] = []

    def record(self, operation: str, detail: str, call: Call | None = None) -> None:
        """Journals an operation before it is issued; for calls that this class has no method for."""
        self._write(operation, detail, call)

    def open(
        self,
        link: str,
        *,
        access: int = constants.READ_WRITE,
        share: int = constants.FILE_SHARE_ALL,
        overlapped: bool = False,
    ) -> Device:
        """Opens a device: a symbolic link's name, a path `\\\\.\\...`, or an object's path `\\Device\\...`.

        With `overlapped`, use the `_async` calls of the device, otherwise the plain ones. Raises
        `Win32Error`.
        """
        return self._owned(Device.open(link, self, access=access, share=share, overlapped=overlapped))

    def interfaces(self, guid: str | uuid.UUID) -> list[str]:
        """Paths of the present devices of an interface class, each for `open`.

        Raises `Win32Error`, always on Wine, whose configuration manager does not list interfaces.
        """
        return interface_paths(guid)

    def open_native(self, path: str, *, access: int = constants.READ_WRITE) -> NativeDevice:
        """Opens an object path (`\\Device\\CR42`, `\\??\\CR42VirtualRegister`) by NtCreateFile for raw calls.

        Raises `NtStatusError`.
        """
        return self._owned(NativeDevice.open(path, self, access=access))

    def open_event(self, name: str, access: int = constants.SYNCHRONIZE) -> Event:
        """Opens a named event such as `Global\\ProcLook`; raises `Win32Error`."""
        return self._owned(Event.open(name, self, access))

    def create_event(self, name: str = "", *, manual_reset: bool = True, signalled: bool = False) -> Event:
        """Makes an event; unnamed by default. Raises `Win32Error`."""
        return self._owned(Event.create(name, self, manual_reset=manual_reset, signalled=signalled))

    def memory(self, size: int, *, guarded: bool = False) -> Memory:
        """`size` bytes in pages of their own; with `guarded`, the byte after the last one is inaccessible."""
        return Memory(size, guarded=guarded)

    def heap(self, size: int) -> HeapMemory:
        """A zeroed block of the process heap."""
        return HeapMemory(size)

    def threads(self, count: int, function: Callable[[int], T]) -> list[T]:
        """Runs `function(index)` in `count` threads that start together; the results in order of index.

        The first exception of a thread is raised here; threads that do not end raise `WaitTimeoutError`.
        """
        return run_threads(count, function, self.deadline)

    def restricted_user(self) -> AbstractContextManager[None]:
        """Inside the `with` block this thread acts without privileges and administrator rights."""
        return restricted_user()

    @property
    def open_handles(self) -> int:
        """How many devices and events that this scenario opened are open."""
        return sum(handle.is_open for handle in list(self._handles))

    def close_leftovers(self) -> list[str]:
        """Closes the handles still open; returns a line for each, and for each that could not be closed."""
        problems = []
        for handle in self._handles:
            if handle.is_open:
                problems.append(f"{handle.name} was left open")
                try:
                    handle.close()
                except Win32Error as error:
                    problems.append(str(error))
        self._handles.clear()
        return problems

    def _owned(self, handle: HandleT) -> HandleT:
        self._handles.append(handle)
        return handle

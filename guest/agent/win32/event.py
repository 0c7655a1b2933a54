"""Kernel events: made here or opened by the name a driver gave them."""

from __future__ import annotations

from agent.errors import Win32Error
from agent.win32 import constants, kernel32
from agent.win32.handle import Handle, Scope


class Event(Handle):
    """An open event. `Context.open_event` and `Context.create_event` make one."""

    @classmethod
    def open(cls, name: str, scope: Scope, access: int = constants.SYNCHRONIZE) -> Event:
        """Opens an existing event such as `Global\\ProcLook`; raises `Win32Error`."""
        scope.record("OpenEvent", name)
        return cls(kernel32.OpenEventW.check(f"OpenEvent({name})", access, False, name), name, scope)

    @classmethod
    def create(cls, name: str, scope: Scope, *, manual_reset: bool, signalled: bool = False) -> Event:
        """Makes an event; an empty name gives an unnamed one. Raises `Win32Error`."""
        value = kernel32.CreateEventW.check(
            f"CreateEvent({name})", None, manual_reset, signalled, name or None
        )
        return cls(value, name or "event", scope)

    def wait(self, timeout_s: float | None = None) -> bool:
        """Waits until it is signalled; returns False if `timeout_s` or the deadline passes first."""
        budget = self._scope.deadline.seconds(timeout_s)
        waited, error = kernel32.WaitForSingleObject.call(self.value, int(budget * 1000))
        if waited not in (constants.WAIT_OBJECT_0, constants.WAIT_TIMEOUT):
            raise Win32Error(error, f"WaitForSingleObject({self.name})")
        return waited == constants.WAIT_OBJECT_0

    def set(self) -> None:
        """Signals it."""
        kernel32.SetEvent.check(f"SetEvent({self.name})", self.value)

    def reset(self) -> None:
        """ResetEvent: the event is no longer signalled."""
        kernel32.ResetEvent.check(f"ResetEvent({self.name})", self.value)

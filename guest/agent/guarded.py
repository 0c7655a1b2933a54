"""Tells the guard of an instrumented driver where a scenario begins and ends, over the channel.

At the end the guard prints which of the blocks that were allocated since the beginning the driver still has,
and from the beginning on it makes allocations fail, if the run asks for that. A driver that a scenario has
stopped does not answer, and is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Mapping

from agent.deadline import Deadline
from agent.errors import NtStatusError, WaitTimeoutError, Win32Error
from agent.instrument import GENERIC_READ
from agent.operations import Operations
from agent.win32.handle import Scope
from agent.win32.native import NativeDevice

GUARD = "guard"
LOOK_S = 20.0
BEGIN, END = 2, 3
"""Parts of the channel, as in driver/instrument/instrument.h."""

Tell = Callable[[str, int, int, Scope], None]
"""Gives a part of a service's channel a number; raises as `tell_channel`."""


class Guarded:
    """The guard of one driver.

    Args:
        service: its service; None for a driver without a guard, to which nothing is said.
        scope: of one call.
        tell: see `Tell`.
    """

    def __init__(self, service: str | None, scope: Callable[[], Scope], tell: Tell) -> None:
        self._service, self._scope, self._tell = service, scope, tell

    def begin(self, plan: object = None) -> None:
        """A scenario begins. plan: which allocations fail in it, as guard_fail.c takes it; else none."""
        self._say(BEGIN, plan if isinstance(plan, int) else 0)

    def end(self) -> None:
        """It has ended, and its handles are closed."""
        self._say(END, 0)

    def _say(self, part: int, number: int) -> None:
        if self._service:
            with contextlib.suppress(Win32Error, NtStatusError, WaitTimeoutError):
                self._tell(self._service, part, number, self._scope())


def tell_channel(service: str, part: int, number: int, scope: Scope) -> None:
    """Gives the part a number of 64 bits; raises `Win32Error`, `NtStatusError` and `WaitTimeoutError`."""
    code = (0x22 << 16) | (1 << 14) | ((0x800 + part) << 2)
    argument, answer = ctypes.c_uint64(number), ctypes.create_string_buffer(8)
    with NativeDevice.open(rf"\Device\WinvmInstrument-{service}", scope, access=GENERIC_READ) as channel:
        channel.ioctl(code, ctypes.addressof(argument), 8, ctypes.addressof(answer), 8)


def guarded(watched: Mapping[str, str]) -> Guarded:
    """The guard of the driver that the host has named. watched: instrument -> service."""
    return Guarded(watched.get(GUARD), silent, tell_channel)


def silent() -> Operations:
    """For one look at an instrument, which is no operation of a scenario: nothing is journalled."""
    return Operations(lambda *_: None, Deadline.after(LOOK_S))

"""Sets the guest's clock, which is as old as the saved machine state when a run begins."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime

from agent.errors import Win32Error
from agent.win32 import kernel32
from agent.win32.layouts import SystemTime


def set_clock(unix_time: float) -> None:
    """SetSystemTime; needs the privilege that administrators have.

    Raises:
        Win32Error: Windows refuses. Wine always does: there the host sets the clock of the Linux below it.
    """
    moment = datetime.fromtimestamp(unix_time, UTC)
    layout = SystemTime(
        moment.year,
        moment.month,
        moment.isoweekday() % 7,
        moment.day,
        moment.hour,
        moment.minute,
        moment.second,
        moment.microsecond // 1000,
    )
    result, error = kernel32.SetSystemTime.call(ctypes.addressof(layout))
    if not result:
        raise Win32Error(error, "SetSystemTime")

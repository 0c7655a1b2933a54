"""Sets the guest's clock, which is as old as the saved machine state when a run begins."""

from __future__ import annotations

import ctypes
import subprocess
import time
from datetime import UTC, datetime

from agent.deadline import Deadline
from agent.errors import WaitTimeoutError, Win32Error
from agent.win32 import constants, kernel32
from agent.win32.layouts import SystemTime

TOLERANCE_S = 2.0
UNIX_DEADLINE_S = 10.0


def set_clock(unix_time: float) -> None:
    """SetSystemTime; Wine 10 refuses it to everybody, so there the Unix system's own `date` is started.

    Raises:
        Win32Error: Windows refuses.
        WaitTimeoutError: on Wine, the clock was not near `unix_time` in time.
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
    if result:
        return
    if error != constants.ERROR_PRIVILEGE_NOT_HELD or not runs_on_wine():
        raise Win32Error(error, "SetSystemTime")
    _set_unix_clock(unix_time)


def runs_on_wine() -> bool:
    """Whether ntdll is Wine's, which says so by an export of its own."""
    module, _ = kernel32.GetModuleHandleW.call("ntdll")
    export, _ = kernel32.GetProcAddress.call(module, b"wine_get_version")
    return bool(export)


def _set_unix_clock(unix_time: float) -> None:
    """Starts `date -s` as root of the guest. A Unix program started by Wine has no process handle to wait
    for and no exit code, so the clock itself is watched.
    """
    started = time.perf_counter()
    deadline = Deadline.after(UNIX_DEADLINE_S)
    subprocess.Popen(
        ["start.exe", "/unix", "/bin/date", "-u", "-s", f"@{unix_time:.3f}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while abs(time.time() - unix_time - (time.perf_counter() - started)) > TOLERANCE_S:
        if deadline.expired:
            raise WaitTimeoutError("setting the guest's clock by date -s", UNIX_DEADLINE_S)
        time.sleep(0.05)

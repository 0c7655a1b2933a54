"""The agent's half of the comparison with tests/bench/null_ioctl.c."""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable

from agent import Context, scenario
from agent.win32 import kernel32
from agent.win32.layouts import DWORD

GET_R1 = 0x222000
WARM_UP = 200


def microseconds(operation: Callable[[], object], count: int) -> float:
    """The mean of `count` operations, after a few that do not count."""
    for _ in range(WARM_UP):
        operation()
    started = time.perf_counter()
    for _ in range(count):
        operation()
    return (time.perf_counter() - started) * 1e6 / count


@scenario(deadline_s=120)
def round_trips(t: Context) -> None:
    """Measures `device.ioctl` as a scenario calls it, with its journal line, and without the journal."""
    count = int(t.params["operations"])
    with t.open("CR42VirtualRegister") as device:
        value, returned = ctypes.c_int(), DWORD()
        out, length = ctypes.addressof(value), ctypes.sizeof(value)

        def unjournalled() -> None:
            arguments = (device.value, GET_R1, None, 0, out, length, ctypes.addressof(returned), None)
            kernel32.DeviceIoControl.check("DeviceIoControl", *arguments)

        found = {
            "device.ioctl": microseconds(lambda: device.ioctl(GET_R1, b"", 4), count),
            "without journal": microseconds(unjournalled, count),
        }
    t.note(json.dumps(found))


@scenario
def answers(t: Context) -> None:
    """The agent answers."""

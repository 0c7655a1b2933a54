"""Scenarios that run or print for as long as a test of the bench asks."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent import Context, equal, scenario
from agent.win32 import ntdll
from scenarios import registers


@scenario(deadline_s=60)
def busy(t: Context) -> None:
    """Talks to the driver for `seconds`."""
    end = time.monotonic() + float(t.params["seconds"])
    with t.open(registers.LINK) as device:
        while time.monotonic() < end:
            registers.set_register(device, 1, 7)
            equal(registers.get_register(device, 1), 7, "register 1")


@scenario(deadline_s=3)
def late(t: Context) -> None:
    """Talks to the driver for `seconds`, which may be longer than the host waits."""
    busy(t)


@scenario(deadline_s=3600)
def prints(t: Context) -> None:
    """Prints `lines` numbered lines."""
    for number in range(int(t.params["lines"])):
        ntdll.DbgPrint.call(b"%s", b"line %07d of many\n" % number)


@scenario(deadline_s=60)
def writes(t: Context) -> None:
    """Writes `mebibytes` that cannot be compressed to the guest's disk."""
    block = os.urandom(1 << 20)
    with Path(r"C:\fill.bin").open("wb") as file:
        for _ in range(int(t.params["mebibytes"])):
            file.write(block)
            file.flush()
            os.fsync(file.fileno())


@scenario
def knows_the_time(t: Context) -> None:
    """Notes the guest's clock."""
    t.note(time.time())

"""The device's ordinary use, the requests it refuses, and an expected crash."""

from __future__ import annotations

from agent import Context, Crash, equal, raises_win32, scenario
from agent.win32 import constants

from scenarios.contract import TEXT_LIMIT, Bugcheck, Counters, Device, SkeletonIoctl

MANUALLY_INITIATED_CRASH = 0xE2


@scenario(tags=("smoke",), expect_dbgprint=[r"skeleton: text set, \d+ bytes", r"skeleton: text cleared"])
def text_is_kept(t: Context) -> None:
    """A written text is read back, counted, and gone after CLEAR."""
    text = f"{t.params['text']}".encode()
    with t.open(Device.SKELETON) as device:
        before = device.ioctl_struct(SkeletonIoctl.COUNTERS, Counters)
        equal(device.write(text), len(text), "bytes written")
        equal(device.read(TEXT_LIMIT), text, "text read back")
        after = device.ioctl_struct(SkeletonIoctl.COUNTERS, Counters)
        equal((after.writes - before.writes, after.reads - before.reads), (1, 1), "writes and reads counted")
        equal(after.length, len(text), "length of the text")
        device.ioctl(SkeletonIoctl.CLEAR)
        equal(device.read(TEXT_LIMIT), b"", "text after CLEAR")


@scenario
def lengths_are_checked(t: Context) -> None:
    """A text at the limit is taken whole, a longer one refused, and no answer fits a short output."""
    with t.open(Device.SKELETON) as device:
        longest = bytes(index & 0xFF for index in range(TEXT_LIMIT))
        equal(device.write(longest), TEXT_LIMIT, "bytes written")
        with raises_win32(constants.ERROR_INVALID_USER_BUFFER):
            device.write(longest + b"!")
        equal(device.read(TEXT_LIMIT + 100), longest, "text after a refused one")
        equal(device.read(10), longest[:10], "first ten bytes")
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl(SkeletonIoctl.COUNTERS, out=11)


@scenario(build="checked", expect_crash=Crash(bugcheck=MANUALLY_INITIATED_CRASH, parameters=(1, 2, 3, 4)))
def bugcheck_on_request(t: Context) -> None:
    """The checked build's BUGCHECK crashes the system with the given code and parameters."""
    wanted = Bugcheck(code=MANUALLY_INITIATED_CRASH)
    wanted.parameters[:] = [1, 2, 3, 4]
    with t.open(Device.SKELETON) as device:
        device.ioctl(SkeletonIoctl.BUGCHECK, bytes(wanted))

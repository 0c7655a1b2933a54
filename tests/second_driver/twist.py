"""Scenarios beyond those of `winvm new-driver`: threads, a second process, a build, a capability."""

from __future__ import annotations

from agent import Child, Context, equal, one_of, raises_win32, scenario
from agent.win32 import constants
from scenarios.contract import TEXT_LIMIT, Bugcheck, Counters, Device, SecondIoctl


@scenario
def texts_of_four_threads_do_not_mix(t: Context) -> None:
    """What is read while four threads write is always one of their texts, whole."""
    texts = [bytes([65 + index]) * (50 * (index + 1)) for index in range(4)]

    def write_and_read(index: int) -> list[bytes]:
        seen = []
        with t.open(Device.SECOND) as device:
            for _ in range(10):
                device.write(texts[index])
                seen.append(device.read(TEXT_LIMIT))
        return seen

    for seen in t.threads(4, write_and_read):
        for text in seen:
            one_of(text, texts, "text read")


@scenario
def text_outlives_the_process_that_wrote_it(t: Context) -> None:
    """A text set by another process is there after that process has ended."""
    with t.spawn(write_text, "from a second process") as process:
        process.wait()
    with t.open(Device.SECOND) as device:
        equal(device.read(TEXT_LIMIT), b"from a second process", "text read")


def write_text(child: Child, text: str) -> None:
    """Runs in the second process."""
    with child.open(Device.SECOND) as device:
        device.write(text.encode())


@scenario(build="release")
def release_build_cannot_be_made_to_crash(t: Context) -> None:
    """The release build does not know BUGCHECK."""
    with t.open(Device.SECOND) as device, raises_win32(constants.ERROR_INVALID_FUNCTION):
        device.ioctl(SecondIoctl.BUGCHECK, bytes(Bugcheck(code=0xE2)))


@scenario
def reading_needs_read_access(t: Context) -> None:
    """COUNTERS demands read access, which a handle opened for writing does not have."""
    with t.open(Device.SECOND, access=constants.GENERIC_WRITE) as device:
        device.ioctl(SecondIoctl.CLEAR)
        with raises_win32(constants.ERROR_ACCESS_DENIED):
            device.ioctl_struct(SecondIoctl.COUNTERS, Counters)


@scenario(needs=("restricted-user",))
def restricted_user_cannot_write(t: Context) -> None:
    """The device's default security lets nobody but administrators write."""
    with t.restricted_user(), raises_win32(constants.ERROR_ACCESS_DENIED):
        t.open(Device.SECOND)

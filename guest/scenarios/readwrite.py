"""Buffered ReadFile and WriteFile: CR42's register 1, and LySharkDriver's greeting and log."""

from __future__ import annotations

import time

from agent import Child, Context, WaitTimeoutError, Win32Error, equal, raises_win32, scenario
from agent.deadline import Deadline
from agent.win32 import constants
from agent.win32.binding import Function
from agent.win32.device import Device
from agent.win32.layouts import BOOL, HANDLE
from scenarios import registers

LINK = "LySharkDriver"
GREETING = b"hello lyshark"
ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH
FlushFileBuffers = Function("kernel32", "FlushFileBuffers", BOOL, HANDLE)


@scenario(tags=("smoke",), expect_dbgprint=[r"CR42: r1 = -2147483648"])
def register_1_round_trip(t: Context) -> None:
    """WriteFile sets CR42's register 1, ReadFile and GET return it, for the extremes of a signed int."""
    with t.open(registers.LINK) as device:
        for value in (0, 1, -1, 0x7FFFFFFF, -0x80000000, 0x12345678):
            equal(device.write(registers.pack(value)), 4, "bytes written")
            equal(device.read(4), registers.pack(value), "bytes read")
            equal(registers.get_register(device, 1), value, "register 1")


@scenario
def registers_2_and_3_untouched_by_write(t: Context) -> None:
    """WriteFile changes register 1 only."""
    with t.open(registers.LINK) as device:
        for register in (1, 2, 3):
            registers.set_register(device, register, 100 + register)
        device.write(registers.pack(-5))
        equal([registers.get_register(device, n) for n in (1, 2, 3)], [-5, 102, 103], "registers")


@scenario(cases=(5, 8, 4096))
def longer_write_is_clipped(t: Context, size: int) -> None:
    """A write longer than the register stores its first 4 bytes and reports 4."""
    with t.open(registers.LINK) as device:
        equal(device.write(registers.pack(0x01020304) + b"\xee" * (size - 4)), 4, "bytes written")
        equal(registers.get_register(device, 1), 0x01020304, "register 1")


@scenario(cases=(5, 8, 4096))
def longer_read_is_clipped(t: Context, size: int) -> None:
    """A read longer than the register reports 4 and leaves the rest of the buffer alone."""
    with t.open(registers.LINK) as device, t.memory(size) as memory:
        registers.set_register(device, 1, -77)
        memory.write(b"\xa5" * size)
        equal(device.read_raw(memory.address, size), 4, "bytes read")
        equal(memory.read(), registers.pack(-77) + b"\xa5" * (size - 4), "the buffer")


@scenario(cases=(0, 1, 2, 3))
def short_transfer_is_refused(t: Context, size: int) -> None:
    """A read or write of less than a register fails and changes nothing."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 0x11223344)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.read(size)
        with raises_win32(ERROR_BAD_LENGTH):
            device.write(b"\xff" * size)
        equal(registers.get_register(device, 1), 0x11223344, "register 1")


@scenario(cases=(1, 5, 12, 13))
def greeting_prefix(t: Context, size: int) -> None:
    """A read of n bytes from LySharkDriver gives the first n bytes of "hello lyshark" each time."""
    with open_exclusive(t) as device:
        for _ in range(3):
            equal(device.read(size), GREETING[:size], f"read of {size} bytes")


@scenario(cases=(14, 4096, 65536))
def long_read_leaks_nothing(t: Context, size: int) -> None:
    """A read longer than the text returns 13 bytes and not one byte of kernel memory behind them."""
    with open_exclusive(t) as device, t.memory(size) as memory:
        memory.write(b"\x5a" * size)
        equal(device.read_raw(memory.address, size), 13, "bytes read")
        equal(memory.read(), GREETING + b"\x5a" * (size - 13), "the buffer")


@scenario
def empty_transfers(t: Context) -> None:
    """A zero-length read and a zero-length write of LySharkDriver both report 0 bytes."""
    with open_exclusive(t) as device:
        equal(device.read(0), b"", "empty read")
        equal(device.write(b""), 0, "empty write")
        equal(device.read(5), b"hello", "a read afterwards")


@scenario(tags=("smoke",), expect_dbgprint=[r"LySharkDriver: write 24 bytes: written by the scenario!"])
def write_is_logged(t: Context) -> None:
    """A write to LySharkDriver returns its byte count, and its length and text reach the debug log."""
    with open_exclusive(t) as device:
        equal(device.write(b"written by the scenario!"), 24, "bytes written")


@scenario(expect_dbgprint=[r"write 22 bytes: percent %s%n%x%p stays"])
def write_is_no_format_string(t: Context) -> None:
    """A written text full of format characters is logged as it is, not interpreted."""
    with open_exclusive(t) as device:
        text = b"percent %s%n%x%p stays"
        equal(device.write(text), len(text), "bytes written")
        equal(device.read(13), GREETING, "a read afterwards")


@scenario(cases={"limit": 511, "past_the_log_limit": 2000, "64k": 65536}, expect_dbgprint=[r"long text:~~~~"])
def long_write_is_counted(t: Context, size: int) -> None:
    """A write longer than one debug line is counted in full, cut in the log, and harms nothing."""
    with open_exclusive(t) as device:
        equal(device.write(b"long text:".ljust(size, b"~")), size, "bytes written")
        equal(device.read(13), GREETING, "a read afterwards")


@scenario
def binary_write_is_counted(t: Context) -> None:
    """Writes of every byte value but 0, and of zeros alone, are counted in full: no byte is a terminator."""
    with open_exclusive(t) as device:
        equal(device.write(bytes(range(1, 256))), 255, "bytes without a terminator")
        equal(device.write(b"\x00" * 64), 64, "bytes that are all terminators")
        equal(device.read(13), GREETING, "a read afterwards")


@scenario(expect_dbgprint=[r"LySharkDriver: second open refused"])
def second_open_is_refused(t: Context) -> None:
    """LySharkDriver opens once: every further open is refused until the first handle is closed."""
    with open_exclusive(t) as device:
        for _ in range(3):
            equal(try_open(t), None, "a second open")
        if t.has("exclusive-device"):
            with raises_win32(constants.ERROR_ACCESS_DENIED):
                t.open(LINK)
        equal(device.read(5), b"hello", "a read through the first handle")
    with open_exclusive(t) as device:
        equal(device.read(5), b"hello", "a read through the next handle")


@scenario
def one_of_many_opens_wins(t: Context) -> None:
    """Of four threads opening LySharkDriver at once exactly one gets it."""
    open_exclusive(t).close()
    won = [device for device in t.threads(4, lambda _index: try_open(t)) if device is not None]
    for device in won:
        device.close()
    equal(len(won), 1, "handles that work")


@scenario(deadline_s=60)
def killed_owner_lets_go(t: Context) -> None:
    """After a process that has LySharkDriver open is killed, the device can be opened again."""
    open_exclusive(t).close()
    with t.spawn(hold_exclusively) as child:
        equal(child.receive(), "hello", "what the second process read")
        equal(try_open(t), None, "an open while the second process lives")
        child.kill()
    with open_exclusive(t, timeout_s=10) as device:
        equal(device.read(13), GREETING, "a read after the kill")


def hold_exclusively(child: Child) -> None:
    """Second process: opens LySharkDriver, says so, and waits to be killed."""
    with child.open(LINK) as device:
        child.send(device.read(5).decode())
        child.receive()


@scenario(
    expect_dbgprint=[
        r"LySharkDriver: no control code 0x00222000",
        r"LySharkDriver: default handler, major function 0x09",
    ]
)
def other_requests_get_the_default_answer(t: Context) -> None:
    """Requests LySharkDriver has no routine for fail with invalid function, and it goes on serving."""
    with open_exclusive(t) as device:
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.ioctl(0x222000, b"abcd", 4)
        t.record("FlushFileBuffers", LINK)
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            FlushFileBuffers.check(f"FlushFileBuffers({LINK})", device.value)
        equal(device.read(13), GREETING, "a read afterwards")


def try_open(t: Context) -> Device | None:
    """Opens LySharkDriver, or None when it is in use.

    Windows refuses the open itself. Wine opens the device whatever the driver answers to IRP_MJ_CREATE, and
    the driver then refuses every request on such a handle. This function therefore tests if the handle works.
    """
    try:
        device = t.open(LINK)
    except Win32Error as error:
        equal(error.code, constants.ERROR_ACCESS_DENIED, "error of a refused open")
        return None
    try:
        device.read(1)
    except Win32Error as error:
        device.close()
        equal(error.code, constants.ERROR_INVALID_HANDLE, "error of a read on a refused handle")
        return None
    return device


def open_exclusive(t: Context, timeout_s: float = 3.0) -> Device:
    """Opens LySharkDriver; waits until the driver has seen the close of an earlier handle."""
    deadline = Deadline.after(t.deadline.seconds(timeout_s))
    while (device := try_open(t)) is None:
        if deadline.expired:
            raise WaitTimeoutError("the end of LySharkDriver's use by somebody else", timeout_s)
        time.sleep(0.01)
    return device

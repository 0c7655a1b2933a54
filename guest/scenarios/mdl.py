"""WinDDK 0x805: kernel memory of 716 records mapped into the caller by an MDL, until the handle is closed."""

from __future__ import annotations

import ctypes
import struct

from agent import Child, Context, Win32Error, equal, raises_win32, scenario
from agent.win32 import constants
from agent.win32.binding import Function
from agent.win32.device import Device
from agent.win32.kernel32 import CloseHandle
from agent.win32.layouts import BOOL, DWORD, HANDLE, POINTER
from agent.win32.memory import read_address
from agent.win32.native import current_process

LINK = "WinDDK"
MAP = 0x222014
RECORDS = 716
RECORD_BYTES = 516  # {char username[256]; char password[256]; int count}
FIRST = b"hello zephyr".ljust(256, b"\0") + b"123456".ljust(256, b"\0") + struct.pack("<i", RECORDS)
OTHERS = FIRST[:512] + struct.pack("<i", 0)
CONTENT = FIRST + OTHERS * (RECORDS - 1)
NEEDS = ("user-mdl-mapping",)

PROCESS_DUP_HANDLE = 0x40
DUPLICATE_SAME_ACCESS = 2
OpenProcess = Function("kernel32", "OpenProcess", HANDLE, DWORD, BOOL, DWORD)
DuplicateHandle = Function(
    "kernel32",
    "DuplicateHandle",
    BOOL,
    HANDLE,  # of the source process
    HANDLE,
    HANDLE,  # of the target process
    POINTER,  # handle out
    DWORD,  # access
    BOOL,  # inheritable
    DWORD,  # options
)


def mapped(device: Device) -> int:
    """Requests the mapping; returns its address in this process."""
    answer = device.ioctl(MAP, out=8)
    equal(len(answer), 8, "bytes of the address")
    address: int = struct.unpack("<Q", answer)[0]
    assert 0x10000 <= address < 0x7FFFFFFF0000, f"{address:#x} is not an address of user mode"
    return address


def readable(address: int) -> bool:
    """Whether an address can be read; ctypes raises the access violation as OSError."""
    try:
        read_address(address, 1)
    except OSError:
        return False
    return True


@scenario(needs=NEEDS, tags=("smoke",))
def records_in_the_caller(t: Context) -> None:
    """The mapping holds 716 records "hello zephyr"/"123456", the first with count 716, the rest with 0."""
    with t.open(LINK) as device:
        address = mapped(device)
        content = read_address(address, RECORDS * RECORD_BYTES)
        equal(content[:RECORD_BYTES], FIRST, "the first record")
        equal(content == CONTENT, True, "whether all 716 records are as they should be")


@scenario(needs=NEEDS)
def rest_of_the_last_page_is_zero(t: Context) -> None:
    """Behind the last record the mapping has zeros to the end of the page, and no other kernel memory."""
    used = RECORDS * RECORD_BYTES
    with t.open(LINK) as device:
        address = mapped(device)
        equal(address % constants.PAGE_SIZE, 0, "offset of the mapping in its page")
        rest = -used % constants.PAGE_SIZE
        equal(read_address(address + used, rest), b"\0" * rest, "bytes behind the last record")


@scenario(needs=NEEDS)
def asking_again_gives_the_same(t: Context) -> None:
    """A second request on the handle gives the same address, and what the caller wrote is still there."""
    with t.open(LINK) as device:
        address = mapped(device)
        ctypes.memmove(address, b"HELLO", 5)
        equal([mapped(device) for _ in range(3)], [address] * 3, "addresses")
        equal(read_address(address, 12), b"HELLO zephyr", "the first user name")


@scenario(needs=NEEDS)
def closing_unmaps(t: Context) -> None:
    """After the handle is closed the address cannot be read; the next handle gets fresh records."""
    with t.open(LINK) as device:
        address = mapped(device)
        ctypes.memmove(address, b"overwritten!", 12)
        equal(readable(address), True, "whether the open mapping can be read")
    equal(readable(address), False, "whether the mapping can be read after the close")
    with t.open(LINK) as device:
        equal(read_address(mapped(device), RECORD_BYTES), FIRST, "the first record of the next mapping")


@scenario(needs=NEEDS)
def two_handles_two_mappings(t: Context) -> None:
    """Two handles have mappings of their own: writing or closing one leaves the other alone."""
    with t.open(LINK) as kept:
        kept_at = mapped(kept)
        with t.open(LINK) as other:
            other_at = mapped(other)
            assert kept_at != other_at, "both handles got one address"
            ctypes.memmove(other_at, b"overwritten!", 12)
            equal(read_address(kept_at, 12), b"hello zephyr", "the first mapping")
        equal(readable(other_at), False, "whether the closed handle's mapping can be read")
        equal(read_address(kept_at, RECORDS * RECORD_BYTES) == CONTENT, True, "whether the rest is whole")


@scenario(needs=NEEDS, deadline_s=60)
def killed_process_leaves_nothing(t: Context) -> None:
    """A process killed while it has a mapping does no harm, and another process's mapping stays usable."""
    with t.open(LINK) as device:
        address = mapped(device)
        with t.spawn(hold_mapping) as child:
            equal(child.receive(), "hello zephyr", "what the second process reads")
            child.kill()
        equal(read_address(address, RECORDS * RECORD_BYTES) == CONTENT, True, "whether this mapping is whole")
    with t.open(LINK) as device:
        equal(read_address(mapped(device), RECORD_BYTES), FIRST, "the first record after the kill")


def hold_mapping(child: Child) -> None:
    """Second process: maps the records, sends the first name to the parent, and waits to be killed."""
    with child.open(LINK) as device:
        child.send(read_address(mapped(device), 12).decode())
        child.receive()


@scenario(needs=NEEDS, deadline_s=60)
def handle_outlives_the_mapping_process(t: Context) -> None:
    """A duplicate of another process's handle gets no mapping until that process is gone."""
    with t.spawn(lend_handle) as child:
        value = int(child.receive())
        with duplicate(t, child.pid, value) as device:
            with raises_win32(constants.ERROR_BAD_COMMAND):
                mapped(device)  # the address would be the other process's
            child.kill()
            equal(read_address(mapped(device), RECORD_BYTES), FIRST, "the first record after the kill")


def lend_handle(child: Child) -> None:
    """Second process: maps the records, sends its handle's number to the parent, and waits to be killed."""
    with child.open(LINK) as device:
        mapped(device)
        child.send(device.value)
        child.receive()


def duplicate(t: Context, pid: int, value: int) -> Device:
    """A handle of this process to the device that another process's handle refers to."""
    process = OpenProcess.check(f"OpenProcess({pid})", PROCESS_DUP_HANDLE, False, pid)
    copy = HANDLE()
    try:
        DuplicateHandle.check(
            f"DuplicateHandle({value:#x})",
            process,
            value,
            current_process(),
            ctypes.addressof(copy),
            0,
            False,
            DUPLICATE_SAME_ACCESS,
        )
    finally:
        CloseHandle.call(process)
    return Device(copy.value or 0, LINK, t)


@scenario(needs=NEEDS)
def mapped_by_four_threads(t: Context) -> None:
    """Four threads mapping and closing 25 times each always see whole records."""

    def map_often(_index: int) -> int:
        whole = 0
        for _ in range(25):
            with t.open(LINK) as device:
                whole += read_address(mapped(device), RECORD_BYTES) == FIRST
        return whole

    equal(t.threads(4, map_often), [25] * 4, "whole mappings of each thread")


@scenario(needs=NEEDS)
def mapped_once_by_racing_requests(t: Context) -> None:
    """Four threads that request the mapping through one handle get one address; no mapping is leaked."""
    with t.open(LINK, overlapped=True) as device:
        addresses = t.threads(4, lambda _index: device.ioctl_async(MAP, out=8).wait())
        equal([len(address) for address in addresses], [8] * 4, "bytes of each address")
        equal(len(set(addresses)), 1, "different addresses")


@scenario(needs=NEEDS, deadline_s=60)
def closed_while_it_is_asked_for(t: Context) -> None:
    """A handle closed while another thread requests its mapping leaves none behind, in either order."""
    for _ in range(50):
        addresses = ask_and_close(t, t.open(LINK, overlapped=True))
        equal([shows_records(address) for address in addresses], [False] * len(addresses), "what is left")


def ask_and_close(t: Context, device: Device) -> list[int]:
    """Requests a mapping in one thread and closes the handle in another; the address, if there was one."""
    addresses: list[int] = []

    def act(index: int) -> None:
        if index:
            device.close()
            return
        try:
            addresses.append(struct.unpack("<Q", device.ioctl_async(MAP, out=8).wait())[0])
        except Win32Error as error:
            equal(error.code, constants.ERROR_INVALID_HANDLE, "error of a request whose handle was closed")

    t.threads(2, act)
    return addresses


def shows_records(address: int) -> bool:
    """Whether the mapping is at the address; the process may have reused the address since."""
    try:
        return read_address(address, RECORD_BYTES) == FIRST
    except OSError:
        return False


@scenario(needs=NEEDS)
def mappings_are_bounded(t: Context) -> None:
    """A 65th mapping is refused, so that handles cannot exhaust the pool; closing one makes room again."""
    handles = [t.open(LINK) for _ in range(65)]
    try:
        for device in handles[:64]:
            mapped(device)
        with raises_win32(constants.ERROR_NO_SYSTEM_RESOURCES):
            handles[64].ioctl(MAP, out=8)
        handles[0].close()
        equal(read_address(mapped(handles[64]), RECORD_BYTES), FIRST, "the first record of the last mapping")
    finally:
        for device in handles:
            device.close()


@scenario(cases=(0, 1, 4, 7))
def no_room_for_the_address(t: Context, room: int) -> None:
    """Output shorter than a pointer is refused before anything is mapped, and not one byte is written."""
    with t.open(LINK) as device, t.memory(8) as memory:
        memory.write(b"\x88" * 8)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl_raw(MAP, 0, 0, memory.address if room else 0, room)
        equal(memory.read(), b"\x88" * 8, "the output buffer")


@scenario(tags=("smoke",), expect_dbgprint=[r"WinDDK: cannot map into the caller, status 0xC000009A"])
def failed_mapping_is_reported(t: Context) -> None:
    """Where the system cannot map into the caller, the request fails each time and leaves nothing behind."""
    if t.has("user-mdl-mapping"):
        t.skip("this system maps into the caller, so the failure cannot be provoked")
    for _ in range(5):
        with t.open(LINK) as device, t.memory(8) as memory:
            memory.write(b"\x99" * 8)
            for _ in range(4):
                with raises_win32(constants.ERROR_NO_SYSTEM_RESOURCES):
                    device.ioctl_raw(MAP, 0, 0, memory.address, 8)
            equal(memory.read(), b"\x99" * 8, "the output buffer")


@scenario
def unknown_code_is_refused(t: Context) -> None:
    """A control code that is not WinDDK's fails with invalid function, as do read and write."""
    with t.open(LINK) as device:
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.ioctl(0x222010, b"", 8)
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.read(8)
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.write(b"12345678")

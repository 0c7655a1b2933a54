"""Pool leaks: the kernel's own count of the driver's live allocations, before and after each kind of use.

NtQuerySystemInformation(SystemPoolTagInformation = 0x16) fills {ULONG Count; SYSTEM_POOLTAG TagInfo[Count]}
(ntexapi.h of the public kernel headers; 64-bit layout: 8 bytes before the array, 40 bytes an entry).
"""

from __future__ import annotations

import ctypes
import struct
import time
from collections.abc import Callable

from agent import Context, State, Win32Error, equal, raises_win32, scenario
from agent.deadline import Deadline
from agent.win32 import constants
from agent.win32.binding import Function, check_status, never
from agent.win32.layouts import NTSTATUS, POINTER, ULONG
from scenarios import contract
from scenarios.mdl import mapped
from scenarios.restart import start_again

TAG = b"Wnvm"  # what the driver's 'mvnW' reads as in memory
NEEDS = ("pool-tags",)
SYSTEM_POOL_TAG_INFORMATION = 0x16
STATUS_INFO_LENGTH_MISMATCH = 0xC0000004
FIRST_SIZE, LARGEST_SIZE = 1 << 18, 1 << 24  # bytes; a system has a few thousand tags

NtQuerySystemInformation = Function(
    "ntdll", "NtQuerySystemInformation", NTSTATUS, ULONG, POINTER, ULONG, POINTER, failed=never
)


class PoolTag(ctypes.Structure):
    """SYSTEM_POOLTAG, 40 bytes on 64-bit Windows."""

    _fields_ = (
        ("Tag", ctypes.c_char * 4),
        ("PagedAllocs", ctypes.c_uint32),
        ("PagedFrees", ctypes.c_uint32),
        ("_padding", ctypes.c_uint32),
        ("PagedUsed", ctypes.c_uint64),
        ("NonPagedAllocs", ctypes.c_uint32),
        ("NonPagedFrees", ctypes.c_uint32),
        ("NonPagedUsed", ctypes.c_uint64),
    )


def pool_tags() -> ctypes.Array[PoolTag]:
    """All pool tags of the system."""
    size = FIRST_SIZE
    while True:
        buffer = ctypes.create_string_buffer(size)
        status, _ = NtQuerySystemInformation.call(SYSTEM_POOL_TAG_INFORMATION, buffer, size, None)
        if status != STATUS_INFO_LENGTH_MISMATCH or size >= LARGEST_SIZE:
            break
        size *= 2
    check_status(status, "NtQuerySystemInformation(SystemPoolTagInformation)")
    count: int = struct.unpack_from("<I", buffer)[0]
    return (PoolTag * count).from_buffer_copy(buffer, 8)


def live_allocations() -> tuple[int, int]:
    """Blocks and bytes that have the driver's tag now; (0, 0) if the system does not list the tag."""
    for entry in pool_tags():
        if entry.Tag == TAG:
            # The counters wrap at 32 bits, their difference does not.
            paged = (entry.PagedAllocs - entry.PagedFrees) & 0xFFFFFFFF
            nonpaged = (entry.NonPagedAllocs - entry.NonPagedFrees) & 0xFFFFFFFF
            return paged + nonpaged, entry.PagedUsed + entry.NonPagedUsed
    return 0, 0


def comes_back_to(expected: tuple[int, int], what: str) -> None:
    """Fails unless the live allocations are as they were, at once or within two seconds."""
    deadline = Deadline.after(2.0)
    while (live := live_allocations()) != expected and not deadline.expired:
        time.sleep(0.05)  # the memory of a request that was cancelled is freed a moment after its end
    equal(live, expected, f"live blocks and bytes of pool tag Wnvm after {what}")


def use_mappings(t: Context) -> None:
    """Ten mappings, made and closed."""
    if not t.has("user-mdl-mapping"):
        t.skip("the guest lacks user-mdl-mapping")
    for _ in range(10):
        with t.open("WinDDK") as device:
            mapped(device)


def use_handles(t: Context) -> None:
    """Twenty handles of each device, open at once."""
    for link in ("Winvm", "CR42VirtualRegister", "WinDDK", "Symboliclnk", "MsgBoard", "LySharkSync"):
        handles = [t.open(link) for _ in range(20)]
        for handle in handles:
            handle.close()


def use_messages(t: Context) -> None:
    """Forty messages, more than the board keeps."""
    with t.open("MsgBoard") as device:
        for _ in range(40):
            device.ioctl(contract.MsgboardIoctl.SHOW, b"m" * 512, 4)


def use_cancelled_reads(t: Context) -> None:
    """Pending reads and queue requests, cancelled by CancelIoEx and by closing."""
    with t.open("LySharkAsync", overlapped=True) as reads, t.open("Symboliclnk", overlapped=True) as events:
        pending = [reads.read_async(64) for _ in range(100)]
        pending += [events.ioctl_async(contract.ProclookIoctl.NEXT, out=2048) for _ in range(20)]
        reads.cancel_io_ex()
        events.cancel_io_ex()
        for request in pending:
            ended(request.wait)
        pending = [reads.read_async(64) for _ in range(50)]
    for request in pending:
        ended(request.wait)


def ended(wait: Callable[[], bytes]) -> None:
    """Waits for the end of a request that may have been cancelled."""
    try:
        wait()
    except Win32Error as error:
        equal(error.code, constants.ERROR_OPERATION_ABORTED, "error of a request")


def use_refusals(t: Context) -> None:
    """Requests that fail after they may have allocated something."""
    with t.open("WinDDK") as device, t.open("MsgBoard") as board:
        for _ in range(20):
            with raises_win32():
                device.ioctl(contract.WinddkIoctl.MAP, out=7)
            with raises_win32():
                board.ioctl(contract.MsgboardIoctl.SHOW, b"x" * 513)
            with raises_win32():
                t.open("Winvm\\below")


@scenario(
    needs=NEEDS,
    cases={
        "mappings": use_mappings,
        "handles": use_handles,
        "messages": use_messages,
        "cancelled_requests": use_cancelled_reads,
        "refusals": use_refusals,
    },
)
def nothing_is_leaked(t: Context, use: Callable[[Context], None]) -> None:
    """After each use of the driver, as many blocks and bytes of its pool tag are live as before."""
    use(t)  # the first use makes the allocations that the driver keeps
    before = live_allocations()
    for number in range(3):
        use(t)
        comes_back_to(before, f"round {number} of {use.__doc__ or use.__name__}")


@scenario(needs=NEEDS, deadline_s=60)
def unload_frees_everything(t: Context) -> None:
    """The driver's pool tag has live blocks while the driver is loaded, and none after it has stopped."""
    with t.open("MsgBoard") as device:
        device.ioctl(contract.MsgboardIoctl.SHOW, b"kept until the unload", 4)
    blocks, size = live_allocations()
    assert blocks > 0 and size > 0, f"no live block of pool tag Wnvm: {blocks} blocks, {size} bytes"
    with t.services() as manager, manager.open(t.service) as service:
        try:
            service.stop()
            service.wait_for(State.STOPPED, 10.0)
            comes_back_to((0, 0), "the unload")
        finally:
            start_again(service)

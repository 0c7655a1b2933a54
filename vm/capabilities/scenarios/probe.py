"""One scenario for each capability, by its name. Passed: shown; a note "differs: ...": unlike Windows.

A scenario that fails, crashes the guest or hangs says how the guest lacks the capability.
"""

from __future__ import annotations

import ctypes
import os
import struct
import subprocess
import time

from agent import Context, Crash, ServiceManager, Win32Error, equal, raises_win32, scenario
from agent.win32 import constants
from agent.win32.binding import Function, check_status, never
from agent.win32.layouts import NTSTATUS, POINTER, ULONG

LINK, EXCLUSIVE = "WvProbe", "WvProbeOne"
MARK = struct.pack("<Q", 0x65626F7270767721)
(
    GET_COUNTS, MAP_MEMORY, UNMAP_MEMORY, WRITE_CALLER, READ_IRQL, CATCH_FAULT, TAKE_POOL, GIVE_POOL,
    IS_VERIFIED, TAKE_DOWN,
) = (0x22_0000 | function << 2 for function in range(0x800, 0x80A))  # fmt: skip
STARTED, ENDED, CLEANUPS, NARROW = range(4)
DISPATCH_LEVEL = 2
STATUS_ACCESS_VIOLATION = 0xC0000005
SYSTEM_POOL_TAG_INFORMATION = 0x16
STATUS_INFO_LENGTH_MISMATCH = 0xC0000004
POOL_TAG = b"WvPb"
LIVE_BLOCKS = 16
NOTICE_S = 2.0  # until a kernel that reports something late has reported it
PROBE_S = 30.0

NtQuerySystemInformation = Function(
    "ntdll", "NtQuerySystemInformation", NTSTATUS, ULONG, POINTER, ULONG, POINTER, failed=never
)


def counts(t: Context) -> tuple[int, ...]:
    """What the driver has counted: processes started, ended; cleanups; opens by 32-bit processes."""
    with t.open(LINK) as device:
        return struct.unpack("<4i", device.ioctl(GET_COUNTS, out=16))


def grown(t: Context, which: int, before: int) -> bool:
    """Whether one of the counts grows within `NOTICE_S`."""
    for _ in range(int(NOTICE_S / 0.2)):
        if counts(t)[which] > before:
            return True
        time.sleep(0.2)
    return False


def start(*argv: str) -> subprocess.Popen[bytes]:
    """A program of the system, with nothing to read or write."""
    nothing = subprocess.DEVNULL
    return subprocess.Popen(argv, stdin=nothing, stdout=nothing, stderr=nothing)


@scenario(deadline_s=PROBE_S)
def user_mdl_mapping(t: Context) -> None:
    """A page of the driver's, mapped by MmMapLockedPagesSpecifyCache(UserMode), is readable in the caller."""
    with t.open(LINK) as device:
        (address,) = struct.unpack("<Q", device.ioctl(MAP_MEMORY, out=8))
        try:
            equal(ctypes.string_at(address, len(MARK)), MARK, "the first bytes of the mapping")
        finally:
            device.ioctl(UNMAP_MEMORY)


@scenario(deadline_s=PROBE_S)
def process_notify(t: Context) -> None:
    """The routine given to PsSetCreateProcessNotifyRoutine is called when a process starts and ends."""
    before = counts(t)
    start("cmd.exe", "/c", "exit").wait(t.deadline.remaining())
    equal(grown(t, STARTED, before[STARTED]), True, "whether a start was reported")
    if not grown(t, ENDED, before[ENDED]):
        t.note("differs: the end of a process is not reported")


@scenario(deadline_s=PROBE_S)
def caller_address_space(t: Context) -> None:
    """The driver writes to an address of its caller's, and the caller finds it there."""
    with t.open(LINK) as device, t.memory(64) as memory:
        memory.write(bytes(64))
        (status,) = struct.unpack("<I", device.ioctl(WRITE_CALLER, struct.pack("<Q", memory.address), 4))
        equal(status, 0, "status of the driver's write")
        equal(memory.read(8), MARK, "the caller's memory")


@scenario(deadline_s=PROBE_S)
def irp_cleanup(t: Context) -> None:
    """Closing the last handle of a file object sends IRP_MJ_CLEANUP."""
    before = counts(t)[CLEANUPS]
    t.open(LINK).close()
    equal(grown(t, CLEANUPS, before + 1), True, "whether more than one cleanup came")


@scenario(deadline_s=PROBE_S)
def irql(t: Context) -> None:
    """KeRaiseIrql and a spin lock raise the current IRQL to DISPATCH_LEVEL, and it goes down again."""
    with t.open(LINK) as device:
        before, raised, locked, after = struct.unpack("<4I", device.ioctl(READ_IRQL, out=16))
    equal((before, raised, after), (0, DISPATCH_LEVEL, 0), "the IRQL before, after KeRaiseIrql, at the end")
    if locked != DISPATCH_LEVEL:
        t.note(f"differs: with a spin lock held the IRQL is {locked}")


@scenario(deadline_s=PROBE_S)
def exclusive_device(t: Context) -> None:
    """The second open of a device that was created with Exclusive=TRUE is refused by the system."""
    with t.open(EXCLUSIVE):
        try:
            t.open(EXCLUSIVE).close()
        except Win32Error as error:
            if error.code != constants.ERROR_ACCESS_DENIED:
                t.note(f"differs: the second open is refused with error {error.code}")
            return
    raise AssertionError("the second handle opened")


@scenario(deadline_s=PROBE_S)
def restricted_user(t: Context) -> None:
    """A thread with a restricted token may not open the service control manager for changes."""
    with t.restricted_user(), raises_win32(constants.ERROR_ACCESS_DENIED), ServiceManager(t):
        raise AssertionError("the service control manager opened")


def live_blocks() -> int:
    """Blocks with the driver's pool tag; 0 if the system does not list the tag."""
    size = 1 << 20
    buffer = ctypes.create_string_buffer(size)
    status, _ = NtQuerySystemInformation.call(SYSTEM_POOL_TAG_INFORMATION, buffer, size, None)
    check_status(status, "NtQuerySystemInformation(SystemPoolTagInformation)")
    (count,) = struct.unpack_from("<I", buffer)
    for number in range(min(count, (size - 8) // 40)):
        tag, paged, paged_freed, _, nonpaged, freed = struct.unpack_from(
            "<4sII4xQII", buffer, 8 + 40 * number
        )
        if tag == POOL_TAG:
            return int(paged - paged_freed + nonpaged - freed) & 0xFFFFFFFF
    return 0


@scenario(deadline_s=PROBE_S)
def pool_tags(t: Context) -> None:
    """The system counts the blocks that the driver takes and gives back under its pool tag."""
    with t.open(LINK) as device:
        before = live_blocks()
        device.ioctl(TAKE_POOL)
        taken = live_blocks()
        device.ioctl(GIVE_POOL)
        equal(taken - before, LIVE_BLOCKS, "more blocks while the driver holds them")
        equal(live_blocks(), before, "blocks afterwards")


@scenario(deadline_s=PROBE_S)
def wow64(t: Context) -> None:
    """A 32-bit program of the system opens the device, and the driver sees that its caller has 32 bits."""
    before = counts(t)[NARROW]
    program = os.path.join(os.environ["SYSTEMROOT"], "SysWOW64", "cmd.exe")  # noqa: PTH118 - a Windows path
    start(program, "/c", rf"type \\.\{LINK}").wait(t.deadline.remaining())
    equal(grown(t, NARROW, before), True, "whether a 32-bit process opened the device")


@scenario(deadline_s=PROBE_S)
def kernel_seh(t: Context) -> None:
    """A __try in the driver catches the access violation of a write to address 0."""
    with t.open(LINK) as device:
        (caught,) = struct.unpack("<I", device.ioctl(CATCH_FAULT, out=4))
    equal(caught, STATUS_ACCESS_VIOLATION, "the exception that was caught")


@scenario(deadline_s=PROBE_S)
def driver_verifier(t: Context) -> None:
    """Driver Verifier watches this driver."""
    with t.open(LINK) as device:
        (verified,) = struct.unpack("<I", device.ioctl(IS_VERIFIED, out=4))
    equal(verified, 1, "MmIsDriverVerifying")


@scenario(deadline_s=PROBE_S, build="unsigned")
def unsigned_driver(t: Context) -> None:
    """A driver without a signature loads, and answers."""
    counts(t)


@scenario(deadline_s=PROBE_S, expect_crash=Crash(bugcheck=0xE2, parameters=(1, 2, 3, 4)))
def kernel_dump(t: Context) -> None:
    """A bugcheck leaves a dump of the kernel; the host reads it."""
    with t.open(LINK) as device:
        device.ioctl(TAKE_DOWN)

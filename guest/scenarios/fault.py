"""WinvmFault: deliberate faults, each with the crash that must be reported, and the device's safeguards.

Every scenario that crashes names what a Windows kernel reports, and what Wine reports where it differs: on
Wine a fault in a driver is an exception in the driver's process, and some faults never end.
"""

from __future__ import annotations

import struct

from agent import Context, Crash, equal, raises_win32, scenario
from agent.win32 import constants
from agent.win32.device import Device
from scenarios import contract, registers
from scenarios.contract import FaultIoctl

LINK = "WinvmFault"
ARM_KEY = contract.FAULT_ARM_KEY
SEQUENCE = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2, 6, 4, 3, 3, 8, 3, 2, 7)
SEQUENCE_BUGCHECK = 0x57564D30
HANG_S = 3.0  # seconds after which a scenario that hangs on purpose is reported as hung

ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH
STATUS_ACCESS_VIOLATION = 0xC0000005
# Bugchecks as the Windows driver documentation numbers them.
SYSTEM_SERVICE_EXCEPTION = 0x3B  # parameters: exception code, instruction, context record, 0
MULTIPLE_IRP_COMPLETE_REQUESTS = 0x44
DRIVER_VERIFIER_DETECTED_VIOLATION = 0xC4
DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION = 0xD6
MANUALLY_INITIATED_CRASH = 0xE2
DPC_WATCHDOG_VIOLATION = 0x133

WITH_INPUT = {
    FaultIoctl.BUGCHECK: 40,
    FaultIoctl.FREED_POINTER: 8,
    FaultIoctl.POOL_OVERRUN: 4,
    FaultIoctl.STEP: 4,
}
WITHOUT_INPUT = (
    FaultIoctl.NULL_WRITE,
    FaultIoctl.WRONG_IRQL,
    FaultIoctl.DOUBLE_COMPLETE,
    FaultIoctl.HANG,
)


def arm(device: Device) -> None:
    """Arms the handle; a handle that was not armed refuses every fault."""
    device.ioctl(FaultIoctl.ARM, struct.pack("<I", ARM_KEY))


def bugcheck(device: Device, code: int, *parameters: int) -> None:
    """Makes the driver call KeBugCheckEx; does not return."""
    device.ioctl(FaultIoctl.BUGCHECK, struct.pack("<II4Q", code, 0, *parameters))


def step(device: Device, opcode: int) -> int:
    """Sends one step of the sequence; returns how many steps match now."""
    answer = device.ioctl(FaultIoctl.STEP, struct.pack("<I", opcode), 4)
    equal(len(answer), 4, "bytes of the count")
    matched: int = struct.unpack("<I", answer)[0]
    return matched


@scenario(build="fault")
def unarmed_handle_does_nothing(t: Context) -> None:
    """A handle that was not armed refuses every fault as not ready, and nothing happens."""
    with t.open(LINK) as armed, t.open(LINK) as device:
        arm(armed)  # this arms one handle, not the device
        for code, size in WITH_INPUT.items():
            with raises_win32(constants.ERROR_NOT_READY):
                device.ioctl(code, b"\0" * size, 4)
        for code in WITHOUT_INPUT:
            with raises_win32(constants.ERROR_NOT_READY):
                device.ioctl(code)
    with t.open(registers.LINK) as device:
        registers.still_works(device)


@scenario(build="fault")
def wrong_key_does_not_arm(t: Context) -> None:
    """Arming needs the whole key: a wrong key, a short one and none are refused, and nothing is armed."""
    with t.open(LINK) as device:
        for key in (0, ARM_KEY + 1, 0xFFFFFFFF):
            with raises_win32(constants.ERROR_INVALID_PARAMETER):
                device.ioctl(FaultIoctl.ARM, struct.pack("<I", key))
        for size in (0, 3):
            with raises_win32(ERROR_BAD_LENGTH):
                device.ioctl(FaultIoctl.ARM, struct.pack("<I", ARM_KEY)[:size])
        with raises_win32(constants.ERROR_NOT_READY):
            device.ioctl(FaultIoctl.NULL_WRITE)


@scenario(build="fault")
def read_only_handle_cannot_arm(t: Context) -> None:
    """The fault controls demand write access: a handle opened for reading is refused by the system."""
    with (
        t.open(LINK, access=constants.GENERIC_READ) as device,
        raises_win32(constants.ERROR_ACCESS_DENIED),
    ):
        arm(device)


@scenario(build="fault")
def short_input_on_an_armed_handle(t: Context) -> None:
    """An armed handle refuses a fault whose input is too short or out of range, instead of guessing."""
    with t.open(LINK) as device:
        arm(device)
        for code, size in WITH_INPUT.items():
            with raises_win32(ERROR_BAD_LENGTH):
                device.ioctl(code, b"\xff" * (size - 1), 4)
        with raises_win32(constants.ERROR_INVALID_PARAMETER):
            device.ioctl(FaultIoctl.POOL_OVERRUN, struct.pack("<I", 4097))
    with t.open(registers.LINK) as device:
        registers.still_works(device)


@scenario(build="fault")
def fault_build_serves_everything_else(t: Context) -> None:
    """HELLO reports the fault build, and writing a pool block up to its last byte is harmless."""
    with t.open("Winvm") as device:
        equal(device.ioctl_struct(contract.WinvmIoctl.HELLO, contract.Hello).fault_build, 1, "fault_build")
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.POOL_OVERRUN, struct.pack("<I", 0))


@scenario(build="fault")
def sequence_counts_and_starts_over(t: Context) -> None:
    """A wrong step after 29 right ones starts over; if it is the first opcode, it counts as step 1."""
    with t.open(LINK) as device, t.open(LINK) as other:
        arm(device)
        arm(other)
        counts = [step(device, opcode) for opcode in SEQUENCE[:29]]
        equal(counts, list(range(1, 30)), "steps matched")
        equal(step(other, SEQUENCE[29]), 0, "steps matched on another handle")
        equal(step(device, 0), 0, "steps matched after a wrong one")
        equal([step(device, opcode) for opcode in SEQUENCE[:4]], [1, 2, 3, 4], "steps matched again")
        equal(step(device, SEQUENCE[0]), 1, "steps matched after a wrong one that starts the sequence")


@scenario(
    build="fault",
    expect_crash=Crash(bugcheck=MANUALLY_INITIATED_CRASH, parameters=(1, 2, 3, 4)),
    expect_dbgprint=[r"WinvmFault: armed", r"WinvmFault: bugcheck"],
)
def bugcheck_with_parameters(t: Context) -> None:
    """KeBugCheckEx(0xE2, 1, 2, 3, 4) is reported with that code and those parameters."""
    with t.open(LINK) as device:
        arm(device)
        bugcheck(device, MANUALLY_INITIATED_CRASH, 1, 2, 3, 4)


@scenario(
    build="fault",
    expect_crash=Crash(
        bugcheck=0xDEADDEAD, parameters=(0xFFFFFFFFFFFFFFFF, 0x8000000000000000, 0x0123456789ABCDEF, 0)
    ),
)
def bugcheck_with_wide_parameters(t: Context) -> None:
    """A bugcheck's parameters are reported with all their 64 bits."""
    with t.open(LINK) as device:
        arm(device)
        bugcheck(device, 0xDEADDEAD, 0xFFFFFFFFFFFFFFFF, 0x8000000000000000, 0x0123456789ABCDEF, 0)


@scenario(build="fault", expect_crash=Crash(bugcheck=0x57564D01, parameters=(0, 0, 0, 0)))
def bugcheck_with_work_under_way(t: Context) -> None:
    """A bugcheck while reads pend and other handles are open is reported with its own code."""
    with t.open("LySharkAsync", overlapped=True) as reader, t.open(registers.LINK), t.open(LINK) as device:
        arm(device)
        reads = [reader.read_async(13) for _ in range(20)]
        bugcheck(device, 0x57564D01, 0, 0, 0, 0)
        del reads


@scenario(
    build="fault",
    expect_crash=Crash(
        bugcheck=SYSTEM_SERVICE_EXCEPTION,
        parameters=(STATUS_ACCESS_VIOLATION, None, None, None),
        exception=STATUS_ACCESS_VIOLATION,
        address=0,
    ),
    expect_dbgprint=[r"WinvmFault: null write"],
)
def null_write(t: Context) -> None:
    """A write to address 0 in the driver is reported as an access violation there."""
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.NULL_WRITE)


@scenario(
    build="fault",
    needs=("caller-address-space",),
    expect_crash=Crash(
        bugcheck=SYSTEM_SERVICE_EXCEPTION, parameters=(STATUS_ACCESS_VIOLATION, None, None, None)
    ),
)
def freed_user_pointer(t: Context) -> None:
    """A write through a pointer that the caller has freed, not even probed, takes the system down."""
    with t.open(LINK) as device:
        arm(device)
        with t.memory(4096) as memory:
            device.ioctl(FaultIoctl.FREED_POINTER, struct.pack("<Q", memory.address))
            equal(memory.read(8), struct.pack("<Q", 0xDEADBEEFDEADBEEF), "memory that is not freed yet")
        device.ioctl(FaultIoctl.FREED_POINTER, struct.pack("<Q", memory.address))


@scenario(
    build="fault",
    needs=("irql", "driver-verifier"),
    # 0x3B: KeWaitXxx called at DISPATCH_LEVEL or higher; then the IRQL, the object, the timeout's address.
    expect_crash=Crash(bugcheck=DRIVER_VERIFIER_DETECTED_VIOLATION, parameters=(0x3B, 2, None, None)),
)
def wait_at_dispatch_level(t: Context) -> None:
    """Driver Verifier bugchecks at a wait at DISPATCH_LEVEL and reports the IRQL."""
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.WRONG_IRQL)


@scenario(
    build="fault",
    deadline_s=HANG_S,
    expect_crash=Crash(bugcheck=MULTIPLE_IRP_COMPLETE_REQUESTS, hang=True),
    expect_dbgprint=[r"WinvmFault: double completion"],
)
def double_completion(t: Context) -> None:
    """Completing a request twice takes the system down (bugcheck 0x44; Wine spins for ever)."""
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.DOUBLE_COMPLETE)
        # In Wine the first completion returns to the caller; the next request waits for the spinning driver.
        with t.open(registers.LINK) as other:
            registers.still_works(other)


@scenario(
    build="fault",
    expect_crash=Crash(exception=STATUS_ACCESS_VIOLATION),
    expect_dbgprint=[r"WinvmFault: pool overrun"],
)
def pool_overrun(t: Context) -> None:
    """A pool block overrun by 4,096 bytes ends in an access violation when the pool is used next."""
    if t.has("irql"):
        t.skip("without Driver Verifier's special pool a kernel may notice an overrun anywhere, or never")
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.POOL_OVERRUN, struct.pack("<I", 4096))
        use_the_pool(t)


def use_the_pool(t: Context) -> None:
    """Makes the driver allocate and free blocks of several sizes, up to hundreds of kilobytes."""
    for _ in range(20):
        with t.open("WinDDK") as device, raises_win32(constants.ERROR_NO_SYSTEM_RESOURCES):
            device.ioctl(contract.WinddkIoctl.MAP, out=8)
        with t.open("MsgBoard") as device, t.open("LySharkSync") as reader:
            device.ioctl(contract.MsgboardIoctl.SHOW, b"into the pool", 4)
            equal(reader.read(20), b"hi,lyshark A", "data of a read")


@scenario(
    build="fault",
    needs=("driver-verifier",),
    expect_crash=Crash(bugcheck=DRIVER_PAGE_FAULT_BEYOND_END_OF_ALLOCATION),
)
def pool_overrun_in_special_pool(t: Context) -> None:
    """With Driver Verifier's special pool, a write of one byte past a block's end bugchecks at once."""
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.POOL_OVERRUN, struct.pack("<I", 1))


@scenario(
    build="fault",
    deadline_s=HANG_S,
    expect_crash=Crash(bugcheck=DPC_WATCHDOG_VIOLATION, hang=True),
    expect_dbgprint=[r"WinvmFault: hang at DISPATCH_LEVEL"],
)
def hang_at_dispatch_level(t: Context) -> None:
    """A driver that spins at DISPATCH_LEVEL is reported as a hang, or bugchecked by the system's watchdog."""
    with t.open(LINK) as device:
        arm(device)
        device.ioctl(FaultIoctl.HANG)


@scenario(
    build="fault",
    expect_crash=Crash(bugcheck=SEQUENCE_BUGCHECK, parameters=(30, 0, 0, 0)),
    expect_dbgprint=[r"WinvmFault: sequence complete"],
)
def thirty_step_sequence(t: Context) -> None:
    """Of thirty operations in the right order only the last crashes, with the sequence's own bugcheck."""
    with t.open(LINK) as device:
        arm(device)
        for number, opcode in enumerate(SEQUENCE[:29], start=1):
            equal(step(device, opcode), number, "steps matched")
        step(device, SEQUENCE[29])

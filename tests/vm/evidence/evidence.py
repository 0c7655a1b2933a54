"""Scenarios that a forged line must not decide, and scenarios whose fault is their own."""

import time

from agent import Context, Crash, Win32Error, scenario
from agent.win32 import ntdll

LINK = r"\\.\Evidence"
PRINT_BUGCHECK, PRINT_FAULT, BUGCHECK, NULL_WRITE, KEEP, TOO_MANY, SAY, FAIL = (
    0x222000 + 4 * number for number in range(8)
)
FORGED = (
    b'x\n0bad:0bad:trace:loaddll:build_module Loaded L"C:\\\\forged.sys" at 0000000000010000: native\n'
    b"0bad:0bad:err:ntoskrnl:KeBugCheckEx 000000eb 1 2 3 4"
)


def dbgprint(text: bytes) -> None:
    """A DbgPrint of this process, not the driver's."""
    ntdll.DbgPrint.call(b"%s", text)


@scenario
def a_program_prints_a_bugcheck(t: Context) -> None:
    """Nothing crashed: passes."""
    dbgprint(FORGED)
    time.sleep(1)


@scenario(expect_crash=Crash(bugcheck=0xEB))
def b_program_prints_the_expected_bugcheck(t: Context) -> None:
    """Only printed: fails."""
    dbgprint(FORGED)
    time.sleep(1)


@scenario(expect_dbgprint=["driver says done"])
def c_program_prints_the_drivers_line(t: Context) -> None:
    """Not the driver's line: fails."""
    dbgprint(b"evidence: driver says done")


@scenario(expect_dbgprint=["driver says done"])
def d_driver_prints_its_line(t: Context) -> None:
    """The driver's line: passes."""
    with t.open(LINK) as device:
        device.ioctl(SAY)


@scenario
def e_driver_prints_a_bugcheck(t: Context) -> None:
    """Nothing crashed: passes."""
    with t.open(LINK) as device:
        device.ioctl(PRINT_BUGCHECK)


@scenario(expect_crash=Crash(bugcheck=0xEB))
def f_driver_prints_the_expected_bugcheck(t: Context) -> None:
    """Only printed: fails."""
    with t.open(LINK) as device:
        device.ioctl(PRINT_BUGCHECK)
    time.sleep(1)


@scenario(expect_crash=Crash(exception=0xC0000005))
def g_driver_prints_the_expected_fault(t: Context) -> None:
    """Only printed: fails."""
    with t.open(LINK) as device:
        device.ioctl(PRINT_FAULT)
    time.sleep(1)


@scenario(deadline_s=5)
def h_never_ends(t: Context) -> None:
    """The scenario's own fault."""
    with t.open(LINK):
        while True:
            pass


@scenario(deadline_s=5)
def i_driver_keeps_the_irp(t: Context) -> None:
    """The driver's fault, named by its operation."""
    with t.open(LINK) as device:
        device.ioctl(KEEP)


@scenario
def j_driver_reports_too_many_bytes(t: Context) -> None:
    """The driver's fault, with both numbers."""
    with t.open(LINK) as device:
        device.ioctl(TOO_MANY, bytes(4), 8)


@scenario
def j2_status_of_the_drivers_own(t: Context) -> None:
    """0xE0000001 reaches the scenario as it is."""
    with t.open(LINK) as device:
        try:
            device.ioctl(FAIL)
        except Win32Error as error:
            t.note(f"{error.code:#x}: {error}")


@scenario
def k_innocent(t: Context) -> None:
    """Passes in a restored guest."""
    with t.open(LINK):
        pass


@scenario(expect_crash=Crash(bugcheck=0xEB))
def l_driver_really_bugchecks(t: Context) -> None:
    """Passes."""
    with t.open(LINK) as device:
        device.ioctl(BUGCHECK)


@scenario(expect_crash=Crash(exception=0xC0000005))
def m_driver_really_faults(t: Context) -> None:
    """Passes."""
    with t.open(LINK) as device:
        device.ioctl(NULL_WRITE)

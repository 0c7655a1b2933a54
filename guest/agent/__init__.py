"""The agent in the guest, and the names that a scenario author imports from it.

    from agent import Context, equal, scenario

    @scenario
    def opens(t: Context) -> None:
        \"\"\"The device opens and answers a read.\"\"\"
        with t.open("LySharkDriver") as device:
            equal(device.read(5), b"hello", "first five bytes")

Numbers (`GENERIC_READ`, `ERROR_ACCESS_DENIED`, `STATUS_CANCELLED`, ...) are in `agent.win32.constants`.
"""

from agent.check import equal, one_of, raises_ntstatus, raises_win32
from agent.context import Context
from agent.control_code import ControlCode, ctl_code
from agent.errors import ChildError, NtStatusError, WaitTimeoutError, Win32Error
from agent.operations import Operations
from agent.process import Child, Process
from agent.program import Ended, program
from agent.registry import Crash, scenario
from agent.service import Service, ServiceManager, State
from agent.win32.device import Device
from agent.win32.overlapped import Pending

__all__ = [
    "Child",
    "ChildError",
    "Context",
    "ControlCode",
    "Crash",
    "Device",
    "Ended",
    "NtStatusError",
    "Operations",
    "Pending",
    "Process",
    "Service",
    "ServiceManager",
    "State",
    "WaitTimeoutError",
    "Win32Error",
    "ctl_code",
    "equal",
    "one_of",
    "program",
    "raises_ntstatus",
    "raises_win32",
    "scenario",
]

"""The Windows guest: where things are inside it, and how to reach them.

Paths and accounts are those that the image builder sets up (`image/`, and `guest/provision`).
This file has not been tried on a real Windows yet.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PureWindowsPath

from harness.crash.dump_source import DumpSource, GuestMinidump, KernelDump
from harness.crash.expectation import describe
from harness.deadline import Deadline
from harness.errors import TransportError
from harness.guests.link import GuestLink
from harness.guests.protocol import Reachable
from harness.guests.standby import await_answer, make_ready, start_interpreter
from harness.guests.windows import pnputil
from harness.guests.windows.debug_stream import WindowsDebugStream
from harness.guests.windows.debugger import WindowsStream, debugger_of
from harness.guests.windows.image.sealed import WindowsImage, build_again
from harness.guests.windows.spec.profile import JOURNAL_COM, WindowsProfile
from harness.guests.windows.verifier import verify_driver
from harness.host.resources import guest_folder
from harness.images.base import USER
from harness.interfaces import DebugStream
from harness.machine.protocol import Machine, Panic
from harness.outcome import KernelCrash
from harness.transports.winrm import WinRmTransport

PYTHON = r"C:\Python\python.exe"
STANDBY = r"C:\winvm\standby.py"
STANDBY_COMMAND = (PYTHON, "-u", STANDBY)
STANDBY_REMEDY = "Its Python may be damaged: build the image again."
MEMORY_DUMP = r"C:\Windows\MEMORY.DMP"
DRIVE_C = "/C:"
"""How Windows' OpenSSH server writes the drive in SFTP paths."""

SET_CLOCK = (
    "import ctypes,sys;"
    "kernel32=ctypes.WinDLL('kernel32',use_last_error=True);"
    "done=kernel32.SetSystemTime((ctypes.c_uint16*8)(%s));"
    "sys.exit(0 if done else ctypes.get_last_error())"
)
"""SYSTEMTIME is eight 16-bit numbers, UTC; the call enables the privilege that it needs by itself."""


def standby_script() -> Path:
    """`guest/agent/standby.py`, which is copied into the guest before its state is saved."""
    return guest_folder() / "agent" / "standby.py"


def session_version(verified: str = "") -> str:
    """Names what the ready state holds: the waiting interpreter's script, and the driver that is verified."""
    return f"{hashlib.sha256(standby_script().read_bytes()).hexdigest()[:12]} {verified}".strip()


def system_time(unix_time: float) -> str:
    """The eight numbers of a SYSTEMTIME, comma-separated; days of the week count from Sunday."""
    moment = datetime.fromtimestamp(unix_time, UTC)
    date = (moment.year, moment.month, moment.isoweekday() % 7, moment.day)
    time_of_day = (moment.hour, moment.minute, moment.second, moment.microsecond // 1000)
    return ",".join(str(number) for number in (*date, *time_of_day))


class WindowsLink(GuestLink):
    """Connections to one running Windows guest; implements `Link` and what it may do beside."""

    def install_package(self, inf: PureWindowsPath, certificates: Iterable[str], deadline: Deadline) -> str:
        """See `InstallsPackages`."""
        return pnputil.install(self.transport, inf, certificates, deadline)

    def uninstall_package(self, published: str, deadline: Deadline) -> None:
        """See `InstallsPackages`."""
        pnputil.uninstall(self.transport, published, deadline)

    def new_interpreter(self, deadline: Deadline) -> dict[str, str]:
        """See `StartsInterpreter`: Windows ends a shell that was idle for too long by its clock."""
        return start_interpreter(self.transport, STANDBY_COMMAND, deadline, remedy=STANDBY_REMEDY)

    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`.

        Raises:
            TransportError: Windows refuses.
        """
        done = self.transport.run([PYTHON, "-c", SET_CLOCK % system_time(time.time())], deadline)
        if done.exit_code:
            raise TransportError(
                f"The guest's clock cannot be set: SetSystemTime gives error {done.exit_code}.",
                remedy=f"{USER} must be an administrator in the guest; else build the image again.",
                detail=done.stderr.decode("utf-8", "backslashreplace"),
            )


@dataclass(frozen=True)
class WindowsGuest:
    """One image of a Windows guest.

    Attributes:
        image: the sealed image with its secrets.
        profile: whose machine it runs in.
        verified: file name of the driver that Driver Verifier is to watch; empty for none.
    """

    image: WindowsImage
    profile: WindowsProfile
    verified: str = ""

    run_folder = r"C:\winvm\run"
    journal_port = rf"\\.\COM{JOURNAL_COM}"

    @property
    def image_manifest(self) -> Path:
        """See `Guest`."""
        return self.image.manifest

    def link(self, host: Reachable) -> WindowsLink:
        """See `Guest`."""
        return WindowsLink.to(host, self.image.secrets, USER, DRIVE_C)

    def debug_stream(
        self,
        machine: Machine,
        log: Path,
        nonce: str,
        skip: int = 0,  # noqa: ARG002 - nothing lies in a file
    ) -> WindowsStream:
        """See `Guest`. The debugger or the panic device reports a crash; the first report counts."""
        stream = debugger_of(self.profile).stream(machine.folder, self.image.secrets, log, nonce)
        machine.on_panic(lambda panic: hear(stream, panic))
        return stream

    def dump(self, crash: KernelCrash, debug: DebugStream) -> DumpSource:
        """See `Guest`."""
        if crash.kind != "bugcheck":
            return GuestMinidump("", absent="Windows dumps its memory only in a bugcheck.")
        restarts = self.profile.provision.auto_reboot and self.profile.hardware.on_bugcheck == "dump"
        return KernelDump(
            crash,
            MEMORY_DUMP if restarts else "",
            connect=lambda machine: self.link(machine).files,
            waits=lambda: isinstance(debug, WindowsDebugStream) and debug.host.held,
        )

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """See `make_ready`. First sets Driver Verifier and copies the interpreter's script in."""

        def connect() -> WinRmTransport:
            transport = self.link(machine).transport
            await_answer(machine, transport, deadline)
            return transport

        if self.verified:
            verify_driver(self.verified, PYTHON, connect, deadline, self.profile.checks)
        link = self.link(machine)
        return make_ready(
            machine,
            link.transport,
            STANDBY_COMMAND,
            deadline,
            remedy=build_again(self.profile.name),
            before=lambda: link.files.push(standby_script(), STANDBY, deadline),
        )


def hear(stream: WindowsStream, panic: Panic) -> None:
    """Adds a panic to a stream; its crash is the stream's unless the debugger has reported one already."""
    if panic.code is None:
        stream.add(panic.time, "qemu", "the panic device reports a panic, and no bugcheck code")
        return
    crash = KernelCrash("bugcheck", panic.code, panic.parameters, time=panic.time)
    text = f"the panic device reports {describe(crash)}"
    stream.add(panic.time, "qemu", text, replace(crash, text=text))

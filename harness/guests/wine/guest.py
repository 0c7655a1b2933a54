"""The Wine guest: where things are inside it, and how to reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.crash.dump_source import GuestMinidump
from harness.crash.held import Held
from harness.deadline import Deadline
from harness.errors import TransportError
from harness.guests.link import GuestLink, GuestSerialLink
from harness.guests.protocol import CrashLimit, Link, Reachable
from harness.guests.standby import make_ready
from harness.guests.wine import print_limit, unload_limit, winedevice
from harness.guests.wine.debug_stream import WineDebugStream
from harness.guests.wine.spec import AGENT_SOCKET
from harness.images.base import BaseImage
from harness.interfaces import DebugStream, FileTransfer
from harness.machine.clock import set_clock
from harness.machine.protocol import Machine
from harness.outcome import KernelCrash
from harness.transports.sftp import SftpTransfer

PYTHON = r"C:\Python\python.exe"
STANDBY = r"C:\winvm\standby.py"
MINIDUMP = r"C:\winvm\dumps\crash.dmp"
DRIVE_C = "/winvm/prefix/drive_c"
SSH_USER = "root"

NO_DUMP = {
    "bugcheck": "Wine ends the process of the driver at KeBugCheckEx without writing one.",
    "hang": "a guest that hangs writes none.",
    "ended": "the driver's process ended without one.",
    "flood": "a guest that floods its debug output is ended at once.",
}
"""Why a crash of this kind leaves no minidump."""
STARTS_DEBUGGER = "wine: "
"""Begins the line with which Wine starts its debugger, which writes the minidump. After a fast-fail, or on a
stack that cannot be used, ntdll prints another line and starts none."""
NO_DEBUGGER = "Wine starts no debugger after a fast-fail, or on a stack that cannot be used."


class WineLink(GuestLink):
    """Connections to one running Wine guest; implements `Link`."""

    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`. Wine refuses SetSystemTime, so the Linux below it does it."""
        set_clock(self.host.channels.clock, deadline)


class WineSerialLink(GuestSerialLink):
    """Connections to one running Wine guest without its network; implements `Link`."""

    def set_clock(self, deadline: Deadline) -> None:
        """See `WineLink`."""
        set_clock(self.host.channels.clock, deadline)


@dataclass(frozen=True)
class WineGuest:
    """One image of the Wine guest.

    Attributes:
        image: the base image with its secrets.
        serial: whether commands and files go over a line.
    """

    image: BaseImage
    serial: bool = False

    run_folder = r"C:\winvm\run"
    journal_port = r"\\.\COM6"

    @property
    def image_manifest(self) -> Path:
        """See `Guest`."""
        return self.image.manifest

    def link(self, host: Reachable) -> WineLink | WineSerialLink:
        """See `Guest`."""
        if self.serial:
            return WineSerialLink(host, host.channels.console.with_name(AGENT_SOCKET))
        return WineLink.to(host, self.image.secrets, SSH_USER, DRIVE_C)

    def dump(self, crash: KernelCrash, debug: DebugStream) -> GuestMinidump:  # noqa: ARG002 - says nothing of it
        """See `Guest`."""
        absent = NO_DUMP.get(crash.kind, "")
        if crash.kind == "exception" and crash.text and not crash.text.startswith(STARTS_DEBUGGER):
            absent = NO_DEBUGGER
        return GuestMinidump(MINIDUMP, absent, _writer)

    def crash_limit(self, analysis: Mapping[str, Any], driver: Path) -> CrashLimit | None:
        """See `KnowsLimits`."""
        return print_limit.crash_limit(analysis, driver)

    def missing_line_limit(self, driver: Path) -> str:
        """See `KnowsLimits`."""
        return print_limit.missing_line_limit(driver)

    def unload_limit(self, driver: Path) -> str:
        """See `KnowsLimits`."""
        return unload_limit.unload_limit(driver)

    def held_irps(self, link: Link, debug: DebugStream, driver: str) -> Held:
        """See `ShowsHeldIrps`."""
        if not isinstance(link, WineLink):
            raise TransportError(
                "The memory of winedevice.exe is read over SSH, which this guest does not have."
            )
        loaded = debug.drivers() if isinstance(debug, WineDebugStream) else ()
        for image in reversed(loaded):
            if image.path.rpartition("\\")[2].lower() == driver.lower():
                return winedevice.held(link.files, image, Deadline.after(winedevice.SECONDS))
        raise TransportError(f"Wine did not report where it loaded {driver}.")

    def debug_stream(self, machine: Machine, log: Path, nonce: str, skip: int = 0) -> WineDebugStream:
        """See `Guest`."""
        return WineDebugStream(machine.channels.dbgprint, log, nonce, skip=skip)

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """See `make_ready`."""
        link = self.link(machine)
        try:
            argv = [PYTHON, "-u", STANDBY]
            return make_ready(
                machine,
                link.transport,
                argv,
                deadline,
                remedy="Build the image again: winvm image build wine",
            )
        finally:
            if self.serial:  # what is still sent must not wait in a saved guest
                link.close()


def _writer(files: FileTransfer) -> str:
    """What is known of the program that writes the minidump."""
    if not isinstance(files, SftpTransfer):
        return ""
    return winedevice.debugger_state(files, Deadline.after(winedevice.SECONDS))

"""The Wine guest: where things are inside it, and how to reach them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.deadline import Deadline
from harness.debuggers.wine import WineDebugStream
from harness.errors import BootError, DeadlineError, TransportError
from harness.images.base import USER, BaseImage
from harness.machine.protocol import Machine, MachineState
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from harness.transports.winrm import CommandAddress, WinRmProcess, WinRmTransport
from harness.transports.wsman import WinRmEndpoint

PYTHON = r"C:\Python\python.exe"
STANDBY = r"C:\winvm\standby.py"
RUN_FOLDER = r"C:\winvm\run"
JOURNAL_PORT = r"\\.\COM2"
MINIDUMP = r"C:\winvm\dumps\crash.dmp"
DRIVE_C = "/winvm/prefix/drive_c"
SSH_USER = "root"
CONSOLE_TAIL = 4000  # bytes

NO_DUMP = {
    "bugcheck": "Wine ends the process of the driver at KeBugCheckEx without writing one.",
    "hang": "a guest that hangs writes none.",
}
"""Why a crash of this kind leaves no minidump."""


class Reachable(Protocol):
    """Where the forwards of a machine listen on the host."""

    @property
    def address(self) -> str:
        """Host address."""

    @property
    def ports(self) -> Mapping[str, int]:
        """Host port by name of the forward: `winrm`, `ssh`."""


@dataclass(frozen=True)
class WineGuest:
    """One image of the Wine guest.

    Attributes:
        image: the base image with its secrets.
    """

    image: BaseImage

    def endpoint(self, host: Reachable) -> WinRmEndpoint:
        """Where and how the machine's WinRM is reached."""
        secrets = self.image.secrets
        return WinRmEndpoint(host.address, host.ports["winrm"], USER, secrets.password, secrets.certificate)

    def transport(self, host: Reachable) -> WinRmTransport:
        """Commands in the guest; not connected yet."""
        return WinRmTransport(self.endpoint(host))

    def files(self, host: Reachable) -> SftpTransfer:
        """File transfer; not connected yet."""
        secrets = self.image.secrets
        endpoint = SftpEndpoint(
            host.address, host.ports["ssh"], SSH_USER, secrets.host_key, secrets.client_key
        )
        return SftpTransfer(endpoint, DriveMap({"C:": DRIVE_C}))

    def debug_stream(self, machine: Machine, log: Path, nonce: str) -> WineDebugStream:
        """The live debug output, logged to `log`."""
        return WineDebugStream(machine.channels.dbgprint, log, nonce)

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """Blocks until WinRM answers completely, then starts the interpreter that a saved guest holds warm.

        Returns:
            What `standby` needs to find that interpreter again.

        Raises:
            BootError: the guest did not answer, or the machine ended; `detail` holds the console tail.
        """
        transport = self.transport(machine)
        try:
            transport.wait_ready(deadline, _alive(machine))
            process = transport.start([PYTHON, "-u", STANDBY], deadline)
            output = b""
            for _, data in process.receive(deadline):
                output += data
                if b'"standby"' in output:
                    return {"shell": process.address.shell_id, "command": process.address.command_id}
        except (DeadlineError, TransportError) as error:
            raise BootError(
                f"The guest did not become ready: {error.message}",
                remedy=error.remedy or "Read the console output below.",
                detail=console_tail(machine),
            ) from error
        raise BootError(
            f"The standby interpreter in the guest ended with exit code {process.exit_code}.",
            remedy="Build the image again: winvm image build",
            detail=output[-CONSOLE_TAIL:].decode("utf-8", "backslashreplace"),
        )

    def set_clock(self, files: SftpTransfer, deadline: Deadline) -> None:
        """Sets the guest's clock to the host's: a restored guest still has the time of its save.

        Wine refuses SetSystemTime, so it is done by the Linux below it.
        """
        files.execute(f"date -u -s @{time.time():.3f}", deadline)

    def standby(self, transport: WinRmTransport, facts: Mapping[str, str]) -> WinRmProcess:
        """The interpreter that `wait_ready` started before the guest was saved."""
        return transport.attach(CommandAddress(facts["shell"], facts["command"]), "the agent")


def console_tail(machine: Machine) -> str:
    """The end of what the guest printed on its console."""
    try:
        with machine.channels.console.open("rb") as console:
            console.seek(max(0, console.seek(0, 2) - CONSOLE_TAIL))
            return console.read().decode("utf-8", "backslashreplace")
    except OSError:
        return ""


def _alive(machine: Machine) -> Callable[[], None]:
    def check() -> None:
        if machine.state() is not MachineState.RUNNING:
            raise BootError(
                f"The machine {machine.name} stopped while it was starting.",
                remedy="Its QEMU log is in the run's folder; `winvm doctor` checks the host.",
                detail=console_tail(machine),
            )

    return check

"""The Wine guest: where things are inside it, and how to reach them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.crash.capture import DumpSource
from harness.deadline import Deadline
from harness.debuggers.wine import WineDebugStream
from harness.errors import BootError, DeadlineError, TransportError
from harness.fileend import last_text
from harness.guests.protocol import Reachable
from harness.images.base import USER, BaseImage
from harness.machine.protocol import Machine, MachineState
from harness.outcome import Crash
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from harness.transports.winrm import CommandAddress, WinRmProcess, WinRmTransport
from harness.transports.wsman import WinRmEndpoint

PYTHON = r"C:\Python\python.exe"
STANDBY = r"C:\winvm\standby.py"
MINIDUMP = r"C:\winvm\dumps\crash.dmp"
DRIVE_C = "/winvm/prefix/drive_c"
SSH_USER = "root"
CONSOLE_TAIL = 4000  # bytes

NO_DUMP = {
    "bugcheck": "Wine ends the process of the driver at KeBugCheckEx without writing one.",
    "hang": "a guest that hangs writes none.",
    "flood": "a guest that floods its debug output is ended at once.",
}
"""Why a crash of this kind leaves no minidump."""


class WineLink:
    """Connections to one running Wine guest; implements `Link`."""

    def __init__(self, transport: WinRmTransport, files: SftpTransfer) -> None:
        self.transport = transport
        self.files = files

    def agent(self, standby: Mapping[str, str]) -> WinRmProcess:
        """See `Link`."""
        return self.transport.attach(CommandAddress(standby["shell"], standby["command"]), "the agent")

    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`. Wine refuses SetSystemTime, so the Linux below it does it."""
        self.files.execute(f"date -u -s @{time.time():.3f}", deadline)

    def close(self) -> None:
        """See `Link`."""
        self.transport.close()
        self.files.close()


@dataclass(frozen=True)
class WineGuest:
    """One image of the Wine guest.

    Attributes:
        image: the base image with its secrets.
    """

    image: BaseImage

    run_folder = r"C:\winvm\run"
    journal_port = r"\\.\COM2"

    @property
    def image_manifest(self) -> Path:
        """See `Guest`."""
        return self.image.manifest

    def link(self, host: Reachable) -> WineLink:
        """See `Guest`."""
        secrets, address, ports = self.image.secrets, host.address, host.ports
        winrm = WinRmEndpoint(address, ports["winrm"], USER, secrets.password, secrets.certificate)
        ssh = SftpEndpoint(address, ports["ssh"], SSH_USER, secrets.host_key, secrets.client_key)
        return WineLink(WinRmTransport(winrm), SftpTransfer(ssh, DriveMap({"C:": DRIVE_C})))

    def dump(self, crash: Crash) -> DumpSource:
        """See `Guest`."""
        return DumpSource(MINIDUMP, NO_DUMP.get(crash.kind, ""))

    def debug_stream(self, machine: Machine, log: Path, nonce: str, skip: int = 0) -> WineDebugStream:
        """See `Guest`."""
        return WineDebugStream(machine.channels.dbgprint, log, nonce, skip=skip)

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """Blocks until WinRM answers completely, then starts the interpreter that a saved guest holds warm.

        Returns:
            What `Link.agent` needs to find that interpreter again.

        Raises:
            BootError: the guest did not answer, or the machine ended; `detail` holds the console tail.
        """
        transport = self.link(machine).transport
        try:
            transport.wait_ready(deadline, _alive(machine))
            process = transport.start([PYTHON, "-u", STANDBY], deadline)
            output = b""
            for _, data in process.receive(deadline):
                output = (output + data)[-CONSOLE_TAIL:]
                if b'"standby"' in output:
                    return {"shell": process.address.shell_id, "command": process.address.command_id}
        except (DeadlineError, TransportError) as error:
            raise BootError(
                f"The guest did not become ready: {error.message}",
                remedy=error.remedy or "Read the console output below.",
                detail=last_text(machine.channels.console, CONSOLE_TAIL),
            ) from error
        ended = "did not start in time" if process.exit_code is None else f"ended with {process.exit_code:#x}"
        raise BootError(
            f"The standby interpreter in the guest {ended}.",
            remedy="Build the image again: winvm image build",
            detail=output.decode("utf-8", "backslashreplace"),
        )


def _alive(machine: Machine) -> Callable[[], None]:
    def check() -> None:
        if machine.state() is not MachineState.RUNNING:
            raise BootError(
                f"The machine {machine.name} stopped while it was starting.",
                remedy="Its QEMU log is in the run's folder; `winvm doctor` checks the host.",
                detail=last_text(machine.channels.console, CONSOLE_TAIL),
            )

    return check

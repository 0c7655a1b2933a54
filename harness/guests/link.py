"""The connections that guests of every flavour have: WinRM and SFTP, or one serial line for both."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol, Self

from harness.deadline import Deadline
from harness.guests.protocol import Guest, Reachable
from harness.guests.standby import StandbyProcess, StandbyTransport
from harness.images.base import USER, Secrets
from harness.interfaces import FileTransfer
from harness.machine.protocol import Machine
from harness.transports.serial import SerialProcess, SerialTransport
from harness.transports.serial_files import SerialFiles
from harness.transports.serial_line import SerialLine
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from harness.transports.winrm import CommandAddress, WinRmProcess, WinRmTransport
from harness.transports.wsman import WinRmEndpoint


class GuestLink(ABC):
    """Implements `Link` except `set_clock`, which each flavour implements in its own way."""

    def __init__(self, host: Reachable, transport: WinRmTransport, files: SftpTransfer) -> None:
        self.host = host
        self.transport = transport
        self.files = files

    @classmethod
    def to(cls, host: Reachable, secrets: Secrets, ssh_user: str, drive_c: str) -> Self:
        """Connections with an image's secrets, none of them open yet.

        Args:
            ssh_user: account that the guest's SSH server accepts.
            drive_c: path of drive C on that server.
        """
        winrm = WinRmEndpoint(host.address, host.ports["winrm"], USER, secrets.password, secrets.certificate)
        ssh = SftpEndpoint(host.address, host.ports["ssh"], ssh_user, secrets.host_key, secrets.client_key)
        return cls(host, WinRmTransport(winrm), SftpTransfer(ssh, DriveMap({"C:": drive_c})))

    @abstractmethod
    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`."""

    def agent(self, standby: Mapping[str, str]) -> WinRmProcess:
        """See `Link`."""
        return self.transport.attach(CommandAddress(standby["shell"], standby["command"]), "the agent")

    def close(self) -> None:
        """See `Link`."""
        self.transport.close()
        self.files.close()


class GuestSerialLink(ABC):
    """As `GuestLink`, over one serial line.

    Args:
        line: path of its socket.
    """

    def __init__(self, host: Reachable, line: Path) -> None:
        self.host = host
        self._line = SerialLine(line)
        self.transport = SerialTransport(self._line)
        self.files = SerialFiles(self._line)

    @abstractmethod
    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`."""

    def agent(self, standby: Mapping[str, str]) -> SerialProcess:
        """See `Link`."""
        return self.transport.attach(int(standby["process"]), "the agent")

    def close(self) -> None:
        """See `Link`."""
        self._line.close()


class OpenLink(Protocol):
    """A `Link` whose transport can wait for a booting guest."""

    @property
    def transport(self) -> StandbyTransport:
        """Commands."""

    @property
    def files(self) -> FileTransfer:
        """Bulk files."""

    def agent(self, standby: Mapping[str, str]) -> StandbyProcess:
        """See `Link`."""

    def set_clock(self, deadline: Deadline) -> None:
        """See `Link`."""

    def close(self) -> None:
        """See `Link`."""


class BootableGuest(Guest, Protocol):
    """A guest whose image a machine boots."""

    def link(self, host: Reachable) -> OpenLink:
        """Connections to a running guest, none of them open yet."""

    def wait_ready(self, machine: Machine, deadline: Deadline) -> dict[str, str]:
        """Blocks until the guest answers and an interpreter waits in it; returns what `Link.agent` needs.

        Raises:
            BootError: it does not become ready.
        """

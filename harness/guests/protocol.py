"""The interface of a guest that the bench uses; a new flavour of guest is one package beside this file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any, Protocol, runtime_checkable

from harness.crash.dump_source import DumpSource
from harness.crash.held import Held
from harness.deadline import Deadline
from harness.interfaces import DebugStream, FileTransfer, GuestProcess, Transport
from harness.machine.protocol import Channels, Machine
from harness.outcome import KernelCrash


class Reachable(Protocol):
    """The host's ends of a machine's forwarded ports and channels."""

    @property
    def address(self) -> str:
        """Host address."""

    @property
    def ports(self) -> Mapping[str, int]:
        """Host port by name of the forward: `winrm`, `ssh`."""

    @property
    def channels(self) -> Channels:
        """The host's ends of the guest's ports."""


class Link(Protocol):
    """The connections to one running guest; opened at first use, unusable after the guest was reverted."""

    @property
    def transport(self) -> Transport:
        """Commands."""

    @property
    def files(self) -> FileTransfer:
        """Bulk files."""

    def agent(self, standby: Mapping[str, str]) -> GuestProcess:
        """The interpreter that waited in the saved guest for an agent; `standby` says where it is."""

    def set_clock(self, deadline: Deadline) -> None:
        """Sets the guest's clock to the host's: a restored guest still has the time of its save."""

    def close(self) -> None:
        """Drops all connections; never raises."""


@runtime_checkable
class StartsInterpreter(Protocol):
    """A `Link` to a guest that may end the interpreter that its saved state holds."""

    def new_interpreter(self, deadline: Deadline) -> dict[str, str]:
        """Starts another one; returns what `Link.agent` needs to find it.

        Raises:
            BootError: it does not start.
            TransportError, DeadlineError: the guest does not answer.
        """


@runtime_checkable
class InstallsPackages(Protocol):
    """A `Link` to a guest that installs drivers by INF packages (capability `inf-package`)."""

    def install_package(self, inf: PureWindowsPath, certificates: Iterable[str], deadline: Deadline) -> str:
        """Installs a package that is in the guest; returns the name under which the guest stores it.

        Args:
            certificates: guest paths of the certificates to trust first.

        Raises:
            DriverLoadError: the guest refuses a certificate or the package.
            TransportError, DeadlineError: the guest does not answer; the driver may have taken it down.
        """

    def uninstall_package(self, published: str, deadline: Deadline) -> None:
        """Removes an installed package and its driver; raises as `install_package`."""


class Guest(Protocol):
    """One flavour of guest, made from one image."""

    @property
    def run_folder(self) -> str:
        """Windows path of the folder that a run deploys into."""

    @property
    def image_manifest(self) -> Path:
        """manifest.json of its image."""

    @property
    def journal_port(self) -> str:
        """Serial port that the agent's write-ahead journal goes to."""

    def link(self, host: Reachable) -> Link:
        """Connections to a running guest, none of them open yet."""

    def debug_stream(self, machine: Machine, log: Path, nonce: str, skip: int = 0) -> DebugStream:
        """The live debug output, logged to `log`; `nonce` identifies this run in the agent's markers.

        `skip`: bytes of the machine's debug channel that an earlier stream has read. What this guest's log
        says about a crash is in the `hint` of the stream's crash, and what it says about a failed load is
        returned by `harness.interfaces.ReadsLog`. A stream without either says nothing more.
        """

    def dump(self, crash: KernelCrash, debug: DebugStream) -> DumpSource:
        """Where the host gets the dump of a crash from, or why there is none.

        `debug`: the guest's own stream, see `debug_stream`.
        """


@dataclass(frozen=True)
class CrashLimit:
    """A limit of a guest; `certain` if its witness leaves no other cause for the crash."""

    text: str
    certain: bool


@runtime_checkable
class KnowsLimits(Protocol):
    """Additional methods of a `Guest` on which some right drivers behave wrongly; see docs/own-driver.md."""

    def crash_limit(self, analysis: Mapping[str, Any], driver: Path) -> CrashLimit | None:
        """Which limit of this guest is, or may be, the cause of a crash; None if there is no sign of one.

        Args:
            analysis: content of the crash's analysis.json.
            driver: the `.sys` that crashed, with its PDB beside it.
        """

    def missing_line_limit(self, driver: Path) -> str:
        """Which limit of this guest may be why expected debug output is missing; empty if none is known."""

    def unload_limit(self, driver: Path) -> str:
        """Which limit of this guest is why a driver does not unload; empty if none is known."""


@runtime_checkable
class ShowsHeldIrps(Protocol):
    """Additional method of a `Guest` whose drivers' memory the host can read while they hang."""

    def held_irps(self, link: Link, debug: DebugStream, driver: str) -> Held:
        """The IRPs that a driver took and has not completed.

        Args:
            link: connections that need not be open yet.
            debug: the guest's own stream, see `Guest.debug_stream`.
            driver: file name of the driver's image.

        Raises:
            InfrastructureError: the guest does not show it now; the message says why.
        """

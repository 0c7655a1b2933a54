"""The connections to a Windows kernel's debugger, by the `hardware.kd` of a profile."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, cast

from harness.debuggers.kd.com.socket import KdcomSocket
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.line import KernelLine
from harness.debuggers.kd.net.adapter import AdapterSocket
from harness.debuggers.kd.net.neighbour import Neighbour
from harness.debuggers.kd.net.wire import KdnetWire
from harness.guests.windows.debug_stream import MuteDebugStream, WindowsDebugStream
from harness.guests.windows.image.credentials import WindowsSecrets
from harness.guests.windows.spec.domain import KD_SOCKET, KDNET_SOCKET
from harness.guests.windows.spec.profile import KDNET_HOST, KDNET_LEASE, KDNET_PORT, WindowsProfile
from harness.interfaces import DebugStream
from harness.outcome import KernelCrash
from harness.plugins import DEBUGGERS


class WindowsStream(DebugStream, Protocol):
    """A debug stream to which others can add records: the panic device reports bugchecks as well."""

    def add(self, time: float, source: str, text: str, crash: KernelCrash | None = None) -> None:
        """See `LoggedStream`."""


class Debugger(Protocol):
    """One kind of connection; registered in `harness.plugins.DEBUGGERS`."""

    def stream(self, machine: Path, secrets: WindowsSecrets, log: Path, nonce: str) -> WindowsStream:
        """The live stream of a running machine, whose folder is `machine`; see `Guest.debug_stream`."""

    def line(self, machine: Path, secrets: WindowsSecrets) -> KernelLine | None:
        """Where another debugger reaches the kernel; None if there is no connection."""


def debugger_of(profile: WindowsProfile) -> Debugger:
    """The connection that a profile names; raises `ConfigurationError` if it is not installed any more."""
    return cast("Debugger", DEBUGGERS.find(profile.hardware.kd))


class Serial:
    """COM1, which QEMU shows as a socket in the machine's folder."""

    def stream(self, machine: Path, secrets: WindowsSecrets, log: Path, nonce: str) -> WindowsDebugStream:  # noqa: ARG002
        """See `Debugger`."""
        return WindowsDebugStream(KdcomSocket(machine / KD_SOCKET), log, nonce)

    def line(self, machine: Path, secrets: WindowsSecrets) -> KernelLine:  # noqa: ARG002
        """See `Debugger`."""
        return KernelLine(serial=machine / KD_SOCKET)


class Kdnet:
    """UDP from a network adapter of its own, whose frames go to this process alone."""

    def stream(self, machine: Path, secrets: WindowsSecrets, log: Path, nonce: str) -> WindowsDebugStream:
        """See `Debugger`."""
        wire = KdnetWire(Key.read(secrets.kd_key), KDNET_PORT, adapter=adapter_of(machine / KDNET_SOCKET))
        return WindowsDebugStream(wire, log, nonce)

    def line(self, machine: Path, secrets: WindowsSecrets) -> KernelLine:
        """See `Debugger`."""
        return KernelLine(port=KDNET_PORT, key_file=secrets.kd_key, adapter=machine / KDNET_SOCKET)


def adapter_of(path: Path) -> AdapterSocket:
    """The adapter of a guest whose KDNET settings are those of every image."""
    return AdapterSocket(path, Neighbour(KDNET_HOST, KDNET_LEASE, KDNET_PORT))


class Off:
    """No debugger: only the panic device reports crashes."""

    def stream(self, machine: Path, secrets: WindowsSecrets, log: Path, nonce: str) -> MuteDebugStream:  # noqa: ARG002
        """See `Debugger`."""
        return MuteDebugStream(log, nonce)

    def line(self, machine: Path, secrets: WindowsSecrets) -> None:
        """See `Debugger`."""


SERIAL, KDNET, NONE = Serial(), Kdnet(), Off()

"""The host that a machine's QEMU runs on, this one or another, and what depends on it.

Ports: QEMU listens on its host's loopback, which is reached from here directly or through a tunnel. The clock
port's FIFOs, QEMU's log and its process belong to its host too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol

from harness.deadline import Deadline
from harness.host.memory_group import MemoryGroup
from harness.host.ports import choose_ports
from harness.machine.clock import make_clock_port
from harness.machine.connection import Connection
from harness.machine.domain import ADDRESS
from harness.machine.far_clock import FarClock
from harness.machine.processes import end_process
from harness.machine.qemulog import qemu_said, without_command_line
from harness.machine.remote.host import RemoteHost
from harness.machine.remote.tunnel import Tunnel, far_ports
from harness.machine.trouble import fate, out_of_memory_kills

Ports = Mapping[str, int]


class QemuHost(Protocol):
    """The host of one machine's QEMU."""

    def ports(self, names: Iterable[str], kept: Ports, deadline: Deadline) -> tuple[Ports, Ports]:
        """Ports to connect to, and ports for QEMU to listen on; `kept`: the former of the last start.

        Raises:
            HostError: no free port was found, or the other host is not reached.
            DeadlineError: that takes too long.
        """

    def forget_ports(self) -> None:
        """Called if QEMU could not listen on one of its ports: makes `ports` choose others."""

    def make_clock(self, port: Path) -> Path:
        """Creates the FIFOs of the clock port `port` anew; returns the name to pass to QEMU."""

    def visible(self, file: Path) -> Path:
        """The path that libvirt is to write to instead of `file`, which QEMU's host may not see."""

    def log(self, limit: int) -> str:
        """The end of QEMU's log, without its command line; empty if it cannot be had."""

    def starting(self) -> None:
        """Called before QEMU is started: records what a later process needs to find it."""

    def fate(self) -> str:
        """What a signal has done to QEMU; empty if it runs, ended in another way, or that is not known."""

    def end_qemu(self) -> None:
        """SIGKILLs QEMU; never raises."""

    def close(self) -> None:
        """Releases the machine's ports and threads on this host."""


class Here:
    """QEMU as a process of this host."""

    def __init__(
        self, connection: Connection, folder: Path, domain: str, group: MemoryGroup | None = None
    ) -> None:
        """`folder` is the machine's, `group` what bounds its memory."""
        self._connection, self._folder, self._domain = connection, folder, domain
        self._group = group
        self._pid = self._killed_before = self._killed_in_group = 0

    def ports(self, names: Iterable[str], kept: Ports, deadline: Deadline) -> tuple[Ports, Ports]:  # noqa: ARG002
        """See `QemuHost`."""
        chosen = kept or choose_ports(names, ADDRESS)
        return chosen, chosen

    def forget_ports(self) -> None:
        """See `QemuHost`."""

    def make_clock(self, port: Path) -> Path:
        """See `QemuHost`."""
        make_clock_port(port)
        return port

    def visible(self, file: Path) -> Path:
        """See `QemuHost`."""
        return file

    def log(self, limit: int) -> str:
        """See `QemuHost`."""
        return qemu_said(self._connection.logs / f"{self._domain}.log", limit)

    def starting(self) -> None:
        """See `QemuHost`."""
        if self._connection.shared:  # so that the QEMU of a killed run is found from its folder
            link = self._folder / "qemu.pid"
            link.unlink(missing_ok=True)
            link.symlink_to(self._pidfile)
        self._pid, self._killed_before = 0, out_of_memory_kills()
        self._killed_in_group = self._group.kills() if self._group else 0

    def fate(self) -> str:
        """See `QemuHost`."""
        with contextlib.suppress(OSError, ValueError):  # libvirt removes the file when QEMU has ended
            self._pid = int(self._pidfile.read_text(encoding="ascii"))
        in_group = self._group.kills() > self._killed_in_group if self._group else False
        return fate(self._pid, self._killed_before, at_limit=in_group) if self._pid else ""

    def end_qemu(self) -> None:
        """See `QemuHost`."""
        with contextlib.suppress(OSError, ValueError):
            end_process(int(self._pidfile.read_text(encoding="ascii")), self._folder.parent)

    def close(self) -> None:
        """See `QemuHost`."""

    @property
    def _pidfile(self) -> Path:
        return self._connection.pidfiles / f"{self._domain}.pid"


class There:
    """QEMU on another host, which shares the machine's folder."""

    def __init__(self, remote: RemoteHost, connection: Connection, folder: Path, domain: str) -> None:
        self._remote, self._folder = remote, folder
        self._pidfile = connection.pidfiles / f"{domain}.pid"
        self._log = connection.logs / f"{domain}.log"
        self._tunnel = Tunnel(remote.session, ADDRESS)
        self._clock = FarClock(remote.session, folder)
        self._far: Ports = {}

    def ports(self, names: Iterable[str], kept: Ports, deadline: Deadline) -> tuple[Ports, Ports]:  # noqa: ARG002
        """See `QemuHost`. The tunnel's local ends stay the same."""
        self._far = self._far or far_ports(names)
        return self._tunnel.lead_to(self._far, deadline), self._far

    def forget_ports(self) -> None:
        """See `QemuHost`."""
        self._far = {}

    def make_clock(self, port: Path) -> Path:  # noqa: ARG002 - `FarClock` serves it
        """See `QemuHost`."""
        return self._clock.start()

    def visible(self, file: Path) -> Path:
        """See `QemuHost`."""
        return self._folder / file.name

    def log(self, limit: int) -> str:
        """See `QemuHost`."""
        return without_command_line(self._remote.tail(self._log, limit))

    def starting(self) -> None:
        """See `QemuHost`. `daemon.json` in the run's folder is enough."""

    def fate(self) -> str:
        """See `QemuHost`. Not known of another host."""
        return ""

    def end_qemu(self) -> None:
        """See `QemuHost`."""
        self._remote.end_qemu(self._pidfile, self._folder)

    def close(self) -> None:
        """See `QemuHost`."""
        self._clock.close()
        self._tunnel.close()

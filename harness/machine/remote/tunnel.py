"""Ports of a guest on another host: local ports that lead to them over the run's SSH connection."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping

from harness.deadline import Deadline
from harness.errors import HostError, WinvmError
from harness.host.ports import HIGHEST, LOWEST, choose_ports
from harness.machine.remote.ssh import Session

ATTEMPTS = 5
CLOSE_SECONDS = 5.0


def far_ports(names: Iterable[str]) -> dict[str, int]:
    """Random ports for QEMU to listen on there. If one is taken, QEMU fails to start: then choose again."""
    chosen = list(names)
    numbers = random.sample(range(LOWEST, HIGHEST), len(chosen))
    return dict(zip(chosen, numbers, strict=True))


class Tunnel:
    """The local ends of one machine's ports: they stay the same while the machine is restored.

    A connection through such a port ends when QEMU ends; the next connection reaches the next QEMU.
    """

    def __init__(self, session: Session, address: str) -> None:
        """`address` is the loopback on both hosts."""
        self._session = session
        self._address = address
        self._made: dict[str, tuple[int, int]] = {}

    def lead_to(self, ports: Mapping[str, int], deadline: Deadline) -> dict[str, int]:
        """The local port for each of the remote `ports`; reconnects if the connection was lost.

        Raises:
            HostError: SSH does not connect, or no free port was found here.
            DeadlineError: it takes too long.
        """
        lost = self._session.open(deadline)
        for name, far in ports.items():
            local, before = self._made.get(name, (0, 0))
            if local and not lost:
                if before == far:
                    continue
                self._session.cancel(local, before, self._address, deadline)
            self._made[name] = self._forward(local, far, name, deadline), far
        return {name: local for name, (local, _far) in self._made.items()}

    def close(self) -> None:
        """Gives the local ports back; never raises."""
        deadline = Deadline.after(CLOSE_SECONDS)
        for local, far in self._made.values():
            try:
                self._session.cancel(local, far, self._address, deadline)
            except WinvmError:  # the connection is gone, and its ports with it
                break
        self._made.clear()

    def _forward(self, wanted: int, far: int, name: str, deadline: Deadline) -> int:
        for attempt in range(ATTEMPTS):
            local = wanted if wanted and not attempt else choose_ports([name], self._address)[name]
            if self._session.forward(local, far, self._address, deadline):
                return local
        raise HostError(
            f"SSH to {self._session.name} could not listen on a port here for {name}.",
            remedy="AllowTcpForwarding must be on in the sshd_config there.",
        )

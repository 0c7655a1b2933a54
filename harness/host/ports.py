"""Host ports for forwards: chosen by binding, outside the range the kernel hands to outgoing connections."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

from harness.errors import HostError

LOWEST, HIGHEST = 20_000, 32_000
"""Linux's default ip_local_port_range starts at 32768: below it no outgoing connection takes a port away."""


def choose_ports(names: Iterable[str], address: str) -> dict[str, int]:
    """A free port for each name. Another process may still take one before QEMU binds it: then choose again.

    Raises:
        HostError: no free port was found.
    """
    chosen: dict[str, int] = {}
    for name in names:
        for _ in range(200):
            # Random, so that runs that start together do not all probe the same port.
            port = random.randint(LOWEST, HIGHEST)  # noqa: S311 - not a secret
            if port not in chosen.values() and is_free(port, address):
                chosen[name] = port
                break
        else:
            raise HostError(
                f"No free port between {LOWEST} and {HIGHEST} on {address} for {name}.",
                remedy="End programs that listen there; winvm down ends the guests that are up.",
            )
    return chosen


def is_free(port: int, address: str) -> bool:
    """Whether `address:port` can be bound now, the way QEMU's user network binds it (SO_REUSEADDR)."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
        return True

"""KDNET on a UDP socket, which hands the target over to another debugger while that is listening."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Sequence

from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.adapter import AdapterSocket
from harness.debuggers.kd.net.relay_session import KdnetRelaySession
from harness.debuggers.kd.net.session import KdnetSession
from harness.debuggers.kd.net.wire import DATAGRAM_LIMIT, KdnetWire
from harness.debuggers.kd.wire import Arrival
from harness.errors import HostError

GONE_S = 3.0
"""Seconds an answer may be due before the debugger counts as gone. A kernel waits for about ten."""
_LOOK_S = 0.2


class KdnetRelayWire(KdnetWire):
    """A `KdnetWire` that passes the target's pokes on to a debugger, and the target with them.

    The debugger listens for a target as it always does, at `debugger` (host, port); it may come and go. What
    it and the target say is overheard, and when it is gone this side goes on.

    Raises:
        HostError: the port cannot be had, or the debugger's host is not known.
    """

    def __init__(
        self,
        key: Key,
        port: int,
        debugger: tuple[str, int],
        address: str = "127.0.0.1",
        retry_s: float = 0.5,
        gone_s: float = GONE_S,
        clock: Callable[[], float] = time.monotonic,
        adapter: AdapterSocket | None = None,
    ) -> None:
        self._debugger_name = f"{debugger[0]}:{debugger[1]}"
        self._relay = KdnetRelaySession(key, self._debugger_name)
        super().__init__(key, port, address, retry_s, adapter)
        self._gone_s, self._clock = gone_s, clock
        self._awaited_since = 0.0
        self._refused = False
        self._reclaimed = threading.Event()
        try:
            self._debugger = _connected(debugger)
        except OSError as error:
            self._socket.close()
            raise HostError(
                f"The debugger's address {self._debugger_name} cannot be used: {error}.",
                remedy="Give it as HOST:PORT.",
            ) from error

    def _new_session(self, key: Key) -> KdnetSession:  # noqa: ARG002 - it has the key already
        return self._relay

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """What the next datagram from target or debugger brings; waits at most `timeout_s` seconds."""
        timeout_s = min(timeout_s, _LOOK_S) if self._relay.relayed else timeout_s
        pending = self._socket.pending
        ready, _, _ = select.select([self._socket, self._debugger], [], [], 0.0 if pending else timeout_s)
        arrivals: list[Arrival] = []
        if pending or self._socket in ready:
            arrivals += super().receive(0.0)
        if self._debugger in ready:
            try:
                arrivals += self._relay.receive_from_debugger(self._debugger.recv(DATAGRAM_LIMIT))
            except OSError:
                self._refused = True
        self._flush()
        return [*arrivals, *self._gone()]

    def reclaim(self) -> None:
        """Takes the target back from a debugger that may still be there. Any thread may call it."""
        self._reclaimed.set()

    def close(self) -> None:
        """Closes both sockets."""
        super().close()
        self._debugger.close()

    def _flush(self) -> None:
        super()._flush()
        for data in self._relay.to_debugger:
            # An error belongs to an earlier datagram, for which no port was open; the debugger may listen by
            # now.
            if not (self._passed(data) or self._passed(data)):
                self._refused = True
        self._relay.to_debugger.clear()

    def _passed(self, data: bytes) -> bool:
        try:
            self._debugger.send(data)
        except OSError:
            return False
        return True

    def _gone(self) -> list[Arrival]:
        """Detects a debugger that is gone: its port is closed, or an answer to the target is overdue."""
        refused, self._refused = self._refused or self._reclaimed.is_set(), False
        self._reclaimed.clear()
        now = self._clock()
        if not self._relay.awaited:
            self._awaited_since = now
        if self._relay.relayed and (refused or now - self._awaited_since >= self._gone_s):
            return self._relay.take_back()
        return []


def _connected(to: tuple[str, int]) -> socket.socket:
    """A UDP socket connected to one address, so that a closed port there is reported as an error."""
    family, kind, protocol, _, address = socket.getaddrinfo(*to, type=socket.SOCK_DGRAM)[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.connect(address)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made

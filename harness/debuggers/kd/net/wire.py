"""KDNET on a UDP socket of the host, or on the network adapter of a guest."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Sequence

from harness.debuggers.kd.ids import Ids, KdnetIds
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.adapter import AdapterSocket, UdpSocket
from harness.debuggers.kd.net.session import KdnetSession
from harness.debuggers.kd.packets import Packet
from harness.debuggers.kd.wire import Arrival
from harness.errors import HostError

DATAGRAM_LIMIT = 8192
_RECEIVE_BUFFER = 1 << 20


class KdnetWire:
    """Implements `Wire`: listens on `address`:`port` for a target that knows `key`.

    Args:
        adapter: listens to the guest of this adapter instead, which `address` and `port` then do not concern.

    Raises:
        HostError: the port is in use or not permitted.
    """

    def __init__(
        self,
        key: Key,
        port: int,
        address: str = "127.0.0.1",
        retry_s: float = 0.5,
        adapter: AdapterSocket | None = None,
    ) -> None:
        self.ids: Ids = KdnetIds()
        self.retry_s = retry_s
        self._session = self._new_session(key)
        self._socket = adapter or _listening(address, port)
        self.port: int = port if isinstance(self._socket, AdapterSocket) else self._socket.getsockname()[1]

    def _new_session(self, key: Key) -> KdnetSession:
        return KdnetSession(key)

    def send(self, packet: Packet) -> None:
        """Sends one packet; without a session it is dropped."""
        self._session.send(packet)
        self._flush()

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """What the next datagram brings; waits at most `timeout_s` seconds."""
        self._socket.settimeout(timeout_s)
        try:
            data, source = self._socket.recvfrom(DATAGRAM_LIMIT)
        except (TimeoutError, BlockingIOError):
            return ()
        except ConnectionError:
            return ()  # an ICMP answer to something sent before
        arrivals = self._session.receive(data, source[:2])
        self._flush()
        return arrivals

    def break_in(self) -> None:
        """Asks a running target to halt."""
        self._session.break_in()
        self._flush()

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def _flush(self) -> None:
        """Sends a datagram; one that cannot be sent counts as lost, and the protocol sends it again."""
        for data, destination in self._session.outbox:
            with contextlib.suppress(OSError):
                self._socket.sendto(data, destination)
        self._session.outbox.clear()


def _listening(address: str, port: int) -> UdpSocket:
    made = UdpSocket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        made.bind((address, port))
    except OSError as error:
        made.close()
        raise HostError(
            f"Listening on UDP port {port} of {address} failed: {error.strerror}.",
            remedy="End the program that uses the port, or choose another port.",
        ) from error
    return made

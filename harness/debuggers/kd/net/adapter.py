"""The debugger's end of a guest's network adapter: QEMU's `-netdev stream` on a UNIX socket, used like UDP.

QEMU puts the length of each frame before it, as 32 bits in network order (QEMU: -netdev stream).
The socket disappears at every revert and exists again after it; meanwhile nothing is received, and what is
sent is lost, as on a network.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from pathlib import Path

from harness.debuggers.kd.net.neighbour import Neighbour
from harness.debuggers.kd.net.session import Address

RETRY_S = 0.05
"""Seconds between two attempts to connect."""
MESSAGE_LIMIT = 256 << 10
"""Longest frame that QEMU can mean; more is no frame, and the connection is dropped."""
_SEND_S = 1.0
_CHUNK = 64 << 10


class AdapterSocket:
    """What `KdnetWire` uses of a UDP socket, on the adapter's socket.

    Args:
        path: of the socket that QEMU listens on, in the machine's folder.
        neighbour: answers the frames.
    """

    def __init__(self, path: Path, neighbour: Neighbour) -> None:
        self._path, self._neighbour = path, neighbour
        self._line: socket.socket | None = None
        self._poll = select.epoll()
        self._bytes = bytearray()
        self._timeout: float = 0.0
        self._tried = -RETRY_S

    @property
    def pending(self) -> bool:
        """Whether a frame is here already, which no `select` reports."""
        return len(self._bytes) >= 4 and len(self._bytes) >= 4 + self._size()

    def fileno(self) -> int:
        """For `select`: readable when there is something to receive. Connects if there is no connection."""
        self._connect()
        return self._poll.fileno()

    def settimeout(self, seconds: float) -> None:
        """How long `recvfrom` may wait."""
        self._timeout = seconds

    def recvfrom(self, limit: int) -> tuple[bytes, Address]:
        """The next datagram for the debugger, and its source.

        Raises:
            TimeoutError: there was none in time.
        """
        until = time.monotonic() + self._timeout
        while True:
            while (frame := self._frame()) is not None:
                found = self._neighbour.receive(frame)
                self._flush()
                if found is not None:
                    return found[0][:limit], found[1]
            left = until - time.monotonic()
            if left < 0 or not self._read(left):
                raise TimeoutError

    def sendto(self, data: bytes, to: Address) -> None:
        """Sends a datagram to a guest that was heard."""
        self._neighbour.send(data, to)
        self._flush()

    def close(self) -> None:
        """Closes the connection; QEMU goes on without."""
        self._drop()
        self._poll.close()

    def _size(self) -> int:
        return int(struct.unpack_from(">I", self._bytes)[0])

    def _frame(self) -> bytes | None:
        if len(self._bytes) >= 4 and self._size() > MESSAGE_LIMIT:
            self._drop()
        if not self.pending:
            return None
        size = self._size()
        frame = bytes(self._bytes[4 : 4 + size])
        del self._bytes[: 4 + size]
        return frame

    def _read(self, seconds: float) -> bool:
        """Waits for bytes; False when time is up."""
        line = self._connect()
        if line is None:
            time.sleep(min(seconds, RETRY_S))
            return seconds > RETRY_S
        if not self._poll.poll(seconds):
            return False
        try:
            chunk = line.recv(_CHUNK)
        except OSError:
            chunk = b""
        if chunk:
            self._bytes += chunk
        else:
            self._drop()
        return True

    def _flush(self) -> None:
        frames, self._neighbour.outbox = self._neighbour.outbox, []
        line = self._connect()
        for frame in frames if line else ():
            try:
                assert line
                line.sendall(struct.pack(">I", len(frame)) + frame)
            except OSError:  # half a frame may have gone: only a new connection is in step again
                self._drop()
                return

    def _connect(self) -> socket.socket | None:
        now = time.monotonic()
        if self._line is None and now - self._tried >= RETRY_S:
            self._tried = now
            line = socket.socket(socket.AF_UNIX)
            line.settimeout(_SEND_S)
            try:
                line.connect(str(self._path))
            except OSError:
                line.close()
                return None
            self._poll.register(line, select.EPOLLIN)
            self._line = line
        return self._line

    def _drop(self) -> None:
        if self._line is not None:
            self._poll.unregister(self._line)
            self._line.close()
            self._line = None
        self._bytes.clear()


class UdpSocket(socket.socket):
    """A UDP socket of the host, with what an `AdapterSocket` has beside."""

    pending = False

"""A socket that reads no more than it was allowed to: a hostile server's answers cannot fill the memory.

paramiko bounds neither a packet of SSH's transport, nor an SFTP packet, nor a listing.
"""

from __future__ import annotations

import socket
import threading

from harness.errors import TransportError


class MeteredSocket(socket.socket):
    """A connected socket with an allowance of bytes to receive; takes over the one it is made of.

    `allow` sets what may still come. What comes beyond it is not read, and the stream ends. paramiko reads in
    a thread of its own, so the failure is asked for with `check`.
    """

    def __init__(self, connected: socket.socket, allowance: int) -> None:
        timeout = connected.gettimeout()
        super().__init__(connected.family, connected.type, connected.proto, connected.detach())
        self.settimeout(timeout)
        self._allowance = allowance
        self._guard = threading.Lock()
        self._exceeded = False

    def allow(self, allowance: int) -> None:
        """Lets `allowance` bytes more come than have by now; replaces what was left."""
        with self._guard:
            self._allowance = allowance

    def check(self, what: str) -> None:
        """Raises `TransportError` when the other side sent more than it was allowed to during `what`."""
        if self._exceeded:
            raise TransportError(
                f"SFTP: {what}: the guest's server sent more bytes than the answer can have.",
                remedy="Something in the guest disturbs its SSH server. Run winvm down, then winvm up.",
            )

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """As a socket's; ends the stream when nothing more may come."""
        with self._guard:
            bufsize = min(bufsize, self._allowance)
            self._exceeded = self._exceeded or bufsize <= 0
        if bufsize <= 0:
            return b""
        data = super().recv(bufsize, flags)
        with self._guard:
            self._allowance -= len(data)
        return data

"""A socket that reads no more than it was allowed to: a hostile server's answers cannot fill the memory.

paramiko bounds neither a packet of SSH's transport, nor an SFTP packet, nor a listing.
"""

from __future__ import annotations

import socket
import threading

from harness.errors import TransportError


class MeteredSocket(socket.socket):
    """A connected socket with an allowance of bytes to receive; takes over the one it is made of.

    `allow` sets how many more bytes may arrive. Bytes beyond that are not read, and the stream ends. paramiko
    reads in a thread of its own, so `check` reports the failure to the caller.
    """

    def __init__(self, connected: socket.socket, allowance: int) -> None:
        timeout = connected.gettimeout()
        super().__init__(connected.family, connected.type, connected.proto, connected.detach())
        self.settimeout(timeout)
        self._allowance = allowance
        self._guard = threading.Lock()
        self._exceeded = False

    def allow(self, allowance: int) -> None:
        """Allows `allowance` more bytes from now on; replaces what is left of the last allowance."""
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
        """As `socket.recv`; ends the stream when no more bytes are allowed."""
        with self._guard:
            bufsize = min(bufsize, self._allowance)
            self._exceeded = self._exceeded or bufsize <= 0
        if bufsize <= 0:
            return b""
        data = super().recv(bufsize, flags)
        with self._guard:
            self._allowance -= len(data)
        return data

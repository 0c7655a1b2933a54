"""HTTPS server of the endpoint: TLS, HTTP/1.1 with keep-alive, Basic authentication, limits, access log.

One thread serves one connection: a client waits on one connection in Receive while it sends on another.
Sockets have no timeout of their own, because under Wine a timeout costs two more server calls for each read
and write (measured: 0.7 ms a request). Instead the accepting thread closes connections that are past their
deadline. Among these are the connections of a restored machine whose client no longer exists.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import hmac
import logging
import math
import select
import socket
import socketserver
import ssl
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from winrmd.envelope import MAX_ENVELOPE_BYTES
from winrmd.service import Service

MAX_CONNECTIONS = 64
HANDSHAKE_TIMEOUT_S = 15.0
# For a whole request to arrive after the previous answer, and for a client to read an answer.
IDLE_TIMEOUT_S = 300.0
# Bytes read of an oversized request, so that its sender can read the answer.
MAX_DISCARD_BYTES = 8 * 1024 * 1024
# Time between two searches for overdue connections and idle shells.
REAP_INTERVAL_S = 15.0

_PATH = "/wsman"

log = logging.getLogger("winrmd")


def tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """The server side of TLS 1.2 or newer with one certificate (PEM)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(certificate, key)
    return context


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens from its creation on; `serve_forever` answers until `shutdown`.

    Args:
        address: host and port; port 0 takes a free one, see `server_address`.
        tls: from `tls_context`.
        user: the only account.
        password: its password.
        idle_timeout_s: how long a connection may be silent; checked at every poll of `serve_forever`.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 32
    # On Windows this option would let another process bind the same port.
    allow_reuse_address = sys.platform != "win32"

    def __init__(
        self,
        address: tuple[str, int],
        tls: ssl.SSLContext,
        user: str,
        password: str,
        idle_timeout_s: float = IDLE_TIMEOUT_S,
    ) -> None:
        self.service = Service(user)
        self.idle_timeout_s = idle_timeout_s
        self._tls = tls
        self._credentials = _digest(f"{user}:{password}".encode())
        self._slots = threading.BoundedSemaphore(MAX_CONNECTIONS)
        self._connections: set[_Connection] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Connection)

    def authorized(self, header: str) -> bool:
        """Whether an Authorization header has the right credentials; compared in constant time."""
        scheme, _, value = header.partition(" ")
        try:
            given = base64.b64decode(value.strip(), validate=True)
        except (binascii.Error, ValueError):
            given = b""
        return hmac.compare_digest(_digest(given), self._credentials) and scheme.lower() == "basic"

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accepts a connection; its own thread does the handshake."""
        connection, address = super().get_request()
        return self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def process_request(self, request: Any, client_address: Any) -> None:
        """Starts the connection's thread, or closes the connection if there are too many."""
        if not self._slots.acquire(blocking=False):
            log.warning("%s refused: %d connections are open", client_address, MAX_CONNECTIONS)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Runs in the connection's thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def service_actions(self) -> None:
        """Called by `serve_forever` after every poll and every new connection."""
        self.service.shells.reap()
        now = time.monotonic()
        with self._lock:
            overdue = [connection for connection in self._connections if connection.deadline < now]
        for connection in overdue:
            connection.hang_up()

    def attach(self, connection: _Connection) -> None:
        """Adds a connection to those whose deadline is checked."""
        with self._lock:
            self._connections.add(connection)

    def detach(self, connection: _Connection) -> None:
        """Removes a connection that has ended."""
        with self._lock:
            self._connections.discard(connection)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """Logs a broken connection in one line, any other error with its traceback."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            log.info("%s connection ended: %s", client_address, error)
        else:
            log.exception("%s connection failed", client_address)

    def server_close(self) -> None:
        """Stops listening and ends all shells."""
        super().server_close()
        self.service.shells.close()


class _Connection(BaseHTTPRequestHandler):
    server: Server
    request: ssl.SSLSocket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    deadline = math.inf

    def setup(self) -> None:
        super().setup()
        if sys.platform == "win32":
            # Under Wine a shutdown reaches the peer but does not wake a thread that is blocked in recv.
            timeout_ms = int(self.server.idle_timeout_s * 1000)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout_ms)
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeout_ms)
        self._allow(HANDSHAKE_TIMEOUT_S)
        self.server.attach(self)

    def finish(self) -> None:
        self.server.detach(self)
        super().finish()

    def handle(self) -> None:
        self.request.do_handshake()
        self._allow(self.server.idle_timeout_s)
        super().handle()

    def hang_up(self) -> None:
        """Ends the connection from another thread."""
        with contextlib.suppress(OSError):
            # The plain socket's method: TLS state belongs to the connection's own thread.
            socket.socket.shutdown(self.request, socket.SHUT_RDWR)

    def do_POST(self) -> None:
        started = time.monotonic()
        length = self._length()
        if self.path.partition("?")[0] != _PATH:
            status, body, summary = HTTPStatus.NOT_FOUND, b"", "wrong path"
        elif not self.server.authorized(self.headers.get("Authorization", "")):
            status, body, summary = HTTPStatus.UNAUTHORIZED, b"", "unauthorized"
        elif length is None:
            status, body, summary = HTTPStatus.LENGTH_REQUIRED, b"", "no length"
        elif length > MAX_ENVELOPE_BYTES:
            status, body, summary = HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"", f"{length} bytes"
        else:
            data = self.rfile.read(length)
            if len(data) < length:
                self.close_connection = True
                return
            length = 0
            self.deadline = math.inf
            reply = self.server.service.handle(data, self._abandoned)
            self._allow(self.server.idle_timeout_s)
            status, body, summary = HTTPStatus(reply.status), reply.body, reply.summary
        self._discard(length)
        self._answer(status, body)
        self._allow(self.server.idle_timeout_s)
        log.info("%s %d %s %.3fs", self.client_address, status, summary, time.monotonic() - started)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Called by http.server for requests that it cannot parse."""
        self.close_connection = True
        self._answer(HTTPStatus(code), b"")
        log.info("%s %d %s", self.client_address, code, ascii(message or explain or ""))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """The access log is written by `do_POST`."""

    def _allow(self, seconds: float) -> None:
        self.deadline = time.monotonic() + seconds

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        head = [f"HTTP/1.1 {status.value} {status.phrase}", f"Content-Length: {len(body)}"]
        if body:
            head.append("Content-Type: application/soap+xml;charset=UTF-8")
        if status is HTTPStatus.UNAUTHORIZED:
            head.append('WWW-Authenticate: Basic realm="WSMAN"')
        if self.close_connection:
            head.append("Connection: close")
        # Head and body in one write: one TLS record, one packet, one wake-up of the client.
        self.wfile.write(("\r\n".join(head) + "\r\n\r\n").encode("ascii") + body)

    def _length(self) -> int | None:
        text = self.headers.get("Content-Length", "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else None

    def _discard(self, length: int | None) -> None:
        """Reads the rest of a request; closes the connection if it is too long or of unknown length."""
        if length is None or length > MAX_DISCARD_BYTES:
            self.close_connection = True
            return
        while length > 0:
            chunk = self.rfile.read(min(length, 64 * 1024))
            if not chunk:
                self.close_connection = True
                return
            length -= len(chunk)

    def _abandoned(self) -> bool:
        """Whether the client has closed: a client that waits for an answer sends nothing else."""
        return bool(select.select([self.connection], [], [], 0)[0])


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()

"""An HTTPS server that answers every request as the test asks, such as a hostile or broken guest might."""

from __future__ import annotations

import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedIOBase
from pathlib import Path

Answer = Callable[[BaseHTTPRequestHandler], None]


def answer(status: int, body: bytes, **headers: str) -> Answer:
    """A plain answer with this status and body."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return send


def drip(*beginning: bytes, forever: bytes) -> Answer:
    """An answer that begins well and then comes byte by byte, for as long as somebody reads."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"".join(beginning))
        _drip(handler.wfile, forever)

    return send


def _drip(sink: BufferedIOBase, forever: bytes) -> None:
    while True:
        for byte in forever:
            sink.write(bytes([byte]))
            sink.flush()
            time.sleep(0.05)


@contextmanager
def dripping_handshake() -> Iterator[int]:
    """A server that answers a TLS hello with a record of 16 KiB, byte by byte; yields its port."""

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"\x16\x03\x03\x40\x00")  # RFC 8446, 5.1: handshake, TLS 1.2, length
            _drip(self.wfile, b"\x02")

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            pass  # the client hangs up

    server = Server(("127.0.0.1", 0), Handler)
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def answering(certificate: Path, key: Path, reaction: Answer) -> Iterator[int]:
    """A server with this certificate; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            reaction(self)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 the base class's name
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, client_address: object) -> None:
            pass  # clients that refuse the certificate or hang up are what the tests are about

    server = Server(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""An SFTP server that has the image's host key and answers as a hostile guest might."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import paramiko
from paramiko import sftp as codes
from paramiko.message import Message

from tests.fakes.sftp_server import Login

NAMES_A_PACKET = 50_000
_Server: Any = paramiko.SFTPServer  # its stubs leave out what a subclass overrides


class _Hostile(_Server):  # type: ignore[misc]
    """Modes: `names` lists without end, `reads` gives far more than asked, `words` chooses its errors."""

    mode = ""

    def _process(self, kind: int, number: int, message: Message) -> None:
        if kind in (codes.CMD_STAT, codes.CMD_LSTAT):
            if self.mode == "words":
                self._status(number, b"\x1b[2J\x1b]0;owned\x07all scenarios passed")
            elif self.mode == "reads":
                self._attributes(number, 1 << 20)
            else:
                self._send_status(number, codes.SFTP_NO_SUCH_FILE)
        elif kind in (codes.CMD_OPENDIR, codes.CMD_OPEN):
            self._answer(codes.CMD_HANDLE, number, b"h")
        elif kind == codes.CMD_READDIR:
            name = struct.pack(">I", 1) + b"a" + struct.pack(">II", 0, 0)
            self._raw(codes.CMD_NAME, number, struct.pack(">I", NAMES_A_PACKET) + name * NAMES_A_PACKET)
        elif kind == codes.CMD_READ:
            self._answer(codes.CMD_DATA, number, b"A" * (15 << 20))
        else:
            super()._process(kind, number, message)

    def _answer(self, kind: int, number: int, data: bytes) -> None:
        self._raw(kind, number, struct.pack(">I", len(data)) + data)

    def _attributes(self, number: int, size: int) -> None:
        flags = paramiko.SFTPAttributes.FLAG_SIZE | paramiko.SFTPAttributes.FLAG_PERMISSIONS
        self._raw(codes.CMD_ATTRS, number, struct.pack(">IQI", flags, size, 0o100644))

    def _status(self, number: int, text: bytes) -> None:
        words = struct.pack(">I", len(text)) + text + struct.pack(">I", 0)
        self._raw(codes.CMD_STATUS, number, struct.pack(">I", codes.SFTP_FAILURE) + words)

    def _raw(self, kind: int, number: int, data: bytes) -> None:
        message = Message()
        message.add_int(number)
        message.add_bytes(data)
        self._send_packet(kind, message)


@contextmanager
def hostile(mode: str, host_key: Path, client_key: Path) -> Iterator[int]:
    """Yields the port. `packet` sends one endless SSH packet; the other modes are those of the server."""
    listener = socket.create_server(("127.0.0.1", 0))
    key = paramiko.Ed25519Key.from_private_key_file(str(host_key))
    answering = threading.Event()
    answering.set()
    login = Login(paramiko.Ed25519Key.from_private_key_file(str(client_key)), answering)
    handler: Any = type("Handler", (_Hostile,), {"mode": mode})
    opened: list[paramiko.Transport | socket.socket] = []

    def serve() -> None:
        with suppress(OSError, paramiko.SSHException):
            while True:
                client, _ = listener.accept()
                opened.append(client)
                if mode == "packet":
                    client.sendall(b"SSH-2.0-hostile\r\n" + struct.pack(">I", 0xFFFFFFF4))
                    with suppress(OSError):
                        while True:
                            client.sendall(b"A" * (1 << 20))
                    continue
                transport = paramiko.Transport(client)
                opened.append(transport)
                transport.set_log_channel("winvm.test.sshd")
                transport.add_server_key(key)
                transport.set_subsystem_handler("sftp", handler)
                transport.start_server(threading.Event(), login)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for one in opened:
            one.close()
        thread.join()

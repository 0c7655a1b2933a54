"""A real SSH server on 127.0.0.1 that serves one folder over SFTP, made of paramiko's server side."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED
from paramiko.sftp import SFTP_FAILURE, SFTP_OK


def make_key(file: Path) -> Path:
    """An ed25519 key as ssh-keygen makes it: private in `file`, public in `file`.pub."""
    key = Ed25519PrivateKey.generate()
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.OpenSSH,
            serialization.NoEncryption(),
        )
    )
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    file.with_name(f"{file.name}.pub").write_bytes(public + b" root@guest\n")
    return file


class Login(paramiko.ServerInterface):
    """Answers channel requests once `answering` is set; a command it accepts never ends."""

    def __init__(self, client_key: paramiko.PKey, answering: threading.Event) -> None:
        self._client_key = client_key
        self._answering = answering

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if (username, key) == ("root", self._client_key) else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        self._answering.wait()
        return super().check_channel_subsystem_request(channel, name)

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return True


@dataclass(frozen=True)
class Disk:
    """Where the served files are: no file can have more than `room` bytes.

    What goes beyond is refused with SSH_FX_FAILURE, as OpenSSH does for ENOSPC; a disk that `lies` confirms
    it. A write takes `write_s` seconds.
    """

    room: int = 1 << 40
    lies: bool = False
    write_s: float = 0.0


class _Handle(paramiko.SFTPHandle):
    def __init__(self, flags: int, path: str, disk: Disk) -> None:
        super().__init__(flags)
        self._disk = disk
        self.readfile = self.writefile = os.fdopen(
            os.open(path, flags, 0o644), "r+b" if flags & (os.O_WRONLY | os.O_RDWR) else "rb", buffering=0
        )

    def write(self, offset: int, data: bytes) -> int:  # type: ignore[override] # paramiko gives bytes
        time.sleep(self._disk.write_s)
        if offset + len(data) > self._disk.room:
            return SFTP_OK if self._disk.lies else SFTP_FAILURE
        return int(super().write(offset, data))


class _Folder(paramiko.SFTPServerInterface):
    def __init__(self, server: paramiko.ServerInterface, disk: Disk) -> None:
        super().__init__(server)
        self._disk = disk

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        try:
            return [paramiko.SFTPAttributes.from_stat(entry.stat(), entry.name) for entry in os.scandir(path)]
        except OSError as error:
            return _status(error)

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(os.stat(path))
        except OSError as error:
            return _status(error)

    lstat = stat

    def open(self, path: str, flags: int, attr: paramiko.SFTPAttributes) -> paramiko.SFTPHandle | int:
        try:
            # The client's append-free write mode comes without O_RDWR; the handle reads and writes anyway.
            writes = flags & os.O_WRONLY
            return _Handle((flags & ~os.O_WRONLY) | os.O_RDWR if writes else flags, path, self._disk)
        except OSError as error:
            return _status(error)

    def remove(self, path: str) -> int:
        return _done(lambda: os.remove(path))

    def posix_rename(self, oldpath: str, newpath: str) -> int:
        return _done(lambda: os.replace(oldpath, newpath))

    def mkdir(self, path: str, attr: paramiko.SFTPAttributes) -> int:
        return _done(lambda: os.mkdir(path))


def _status(error: OSError) -> int:
    return int(paramiko.SFTPServer.convert_errno(error.errno or 0))


def _done(action: Callable[[], object]) -> int:
    try:
        action()
    except OSError as error:
        return _status(error)
    return SFTP_OK


@contextmanager
def serving(
    host_key: Path, client_key: Path, answering: threading.Event | None = None, disk: Disk = Disk()
) -> Iterator[tuple[int, list[paramiko.Transport]]]:
    """Yields the port and the open connections, which the test may close to break them.

    `answering`: the server sends nothing on its connections until this is set; it is set by default.
    """
    if answering is None:
        answering = threading.Event()
        answering.set()
    listener = socket.create_server(("127.0.0.1", 0))
    key = paramiko.Ed25519Key.from_private_key_file(str(host_key))
    login = Login(paramiko.Ed25519Key.from_private_key_file(str(client_key)), answering)
    connections: list[paramiko.Transport] = []

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.set_log_channel("winvm.test.sshd")
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Folder, disk)
            connections.append(transport)
            try:
                transport.start_server(threading.Event(), login)
            except paramiko.SSHException:
                continue

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield int(listener.getsockname()[1]), connections
    finally:
        answering.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
        for transport in connections:
            transport.close()

"""Bulk files to and from the guest over SFTP: both keys pinned, uploads pipelined, writes atomic.

Base64 over WinRM is 10 to 100 times slower, so no file ever goes that way.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from harness.deadline import Deadline
from harness.display.terminal import printable
from harness.errors import AuthenticationError, ConfigurationError, DeadlineError, TransportError
from harness.host.logger import logger
from harness.transports.metered import MeteredSocket
from harness.transports.names import refusal
from harness.transports.sftpclient import BoundedClient
from harness.transports.spelling import existing_case

CHUNK = 32 << 10
"""Bytes of one read or write request: what every SFTP server accepts."""
CONNECT_TIMEOUT_S = 30.0
OUTPUT_LIMIT = 64 << 10
"""Bytes of a command's output that are kept."""
ANSWERS_LIMIT = 4 << 20
"""Bytes that may be received for one operation besides a file's content: key exchange, listings, replies."""
REPLY_BYTES = 256
"""Bytes that SSH and SFTP put around the reply to one request, at most."""
MESSAGE_LIMIT = 300
"""Characters that are kept of an error text of the guest's server."""

# One fast, modern algorithm of each kind first: an emulated guest pays for every round of key exchange, and
# paramiko's first choice (a post-quantum exchange) buys nothing on the loopback interface.
KEY_EXCHANGES = ("curve25519-sha256@libssh.org", "ecdh-sha2-nistp256")
CIPHERS = ("aes128-gcm@openssh.com", "aes128-ctr")

_LOG = logger("sftp")

_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error, MemoryError)
"""What paramiko raises for an answer with text that is not UTF-8, or with fields missing."""

PathMap = Callable[[str], str]
"""Turns a Windows path (`C:\\dir\\name`) into the path that the guest's SFTP server knows."""


@dataclass(frozen=True)
class SftpEndpoint:
    """Where the guest's SSH server listens, and the keys of its image.

    `host_key` is the server's public key file (`ssh-ed25519 AAAA...`), `client_key` the private key file.
    """

    host: str
    port: int
    user: str
    host_key: Path
    client_key: Path


@dataclass(frozen=True)
class DriveMap:
    """A `PathMap` for a guest whose drives are folders, as Wine's are.

    Example:
        >>> DriveMap({"C:": "/winvm/prefix/drive_c"})(r"C:\\winvm\\run")
        '/winvm/prefix/drive_c/winvm/run'
    """

    folders: Mapping[str, str]

    def __call__(self, guest_path: str) -> str:
        """Raises `ConfigurationError` for a path that is not absolute or would leave its drive."""
        drive, *parts = guest_path.replace("/", "\\").split("\\")
        folder = self.folders.get(drive.upper())
        if folder is None or not any(parts):
            raise ConfigurationError(
                f"{guest_path[:200]!r} is not a file on a known drive of the guest.",
                remedy=f"Give an absolute Windows path on {', '.join(sorted(self.folders))}.",
            )
        for part in filter(None, parts):
            if reason := refusal(part):
                raise ConfigurationError(
                    f"{part[:80]!r} in {guest_path[:200]!r} cannot name a Windows file: {reason}.",
                    remedy="Choose another name.",
                )
        return posixpath.join(folder, *filter(None, parts))


class SftpTransfer:
    """Copies files over SFTP; implements `harness.interfaces.FileTransfer`. For one thread at a time.

    Connects at the first use, and again after the connection was lost (the guest was reverted).
    """

    def __init__(self, endpoint: SftpEndpoint, path_map: PathMap) -> None:
        self.endpoint = endpoint
        self._path_map = path_map
        self._transport: paramiko.Transport | None = None
        self._sftp: BoundedClient | None = None
        self._meter: MeteredSocket | None = None

    def push(self, local: Path, guest_path: str, deadline: Deadline) -> int:
        """Copies one file in, creating folders; returns bytes sent.

        The file appears under its name only when it is complete: the guest has confirmed every write, and
        the file has the size that was sent.
        """
        target = self._path_map(guest_path)
        if not local.is_file():
            raise ConfigurationError(f"{local} is not a file.", remedy="Name a file to push.")
        with self._session(f"push {local} to {guest_path}", deadline) as sftp, local.open("rb") as source:
            target = existing_case(sftp, target, make_folders=True)
            partial = posixpath.join(posixpath.dirname(target), f".{secrets.token_hex(8)}.part")
            sent = 0
            self._allow(local.stat().st_size // CHUNK * REPLY_BYTES)
            try:
                with sftp.open(partial, "wb") as sink:
                    sink.set_pipelined(True)
                    while chunk := source.read(CHUNK):
                        self._bound(sftp, deadline, f"push {local}")
                        sink.write(chunk)
                        sent += len(chunk)
                    self._bound(sftp, deadline, f"push {local}")
                    sftp.confirm_writes(sink)
                _check_kept(sftp.stat(partial).st_size, sent, guest_path)
                sftp.posix_rename(partial, target)
            except BaseException:
                with contextlib.suppress(OSError, paramiko.SSHException):
                    sftp.remove(partial)
                raise
        return sent

    def pull(self, guest_path: str, local: Path, deadline: Deadline, limit: int) -> int:
        """Copies one file out, refusing more than `limit` bytes; returns bytes received.

        `local` appears only when it is complete, and its folder is created.
        """
        target = self._path_map(guest_path)
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".{local.name}.{secrets.token_hex(4)}.part")
        received = 0
        try:
            with self._session(f"pull {guest_path}", deadline) as sftp, partial.open("wb") as sink:
                target = existing_case(sftp, target)
                attributes = sftp.stat(target)
                size = attributes.st_size or 0
                if not stat.S_ISREG(attributes.st_mode or 0):
                    raise TransportError(f"{guest_path} of the guest is not a file.")
                if size > limit:
                    raise TransportError(f"{guest_path} of the guest has {size} bytes, more than {limit}.")
                # Read by read: paramiko's prefetch was no faster on the loopback interface, and its thread
                # prints a traceback when the guest goes away.
                self._allow(size + size // CHUNK * REPLY_BYTES)
                with sftp.open(target, "rb") as source:
                    while received < size and (chunk := source.read(CHUNK)):
                        self._bound(sftp, deadline, f"pull {guest_path}")
                        received += len(chunk)
                        if received > size:
                            raise TransportError(f"{guest_path} of the guest has more than {size} bytes.")
                        sink.write(chunk)
                if received < size:
                    raise TransportError(f"{guest_path} of the guest ended at {received} of {size} bytes.")
            partial.replace(local)
        finally:
            partial.unlink(missing_ok=True)
        return received

    def size(self, guest_path: str, deadline: Deadline) -> int | None:
        """Size in bytes, or None when there is no such file."""
        target = self._path_map(guest_path)
        with self._session(f"size of {guest_path}", deadline) as sftp:
            try:
                return sftp.stat(existing_case(sftp, target)).st_size
            except FileNotFoundError:
                return None

    def server_names(self, folder: str, deadline: Deadline) -> list[str]:
        """Names in a folder, given by the path that the server itself knows."""
        with self._session(f"names in {folder}", deadline) as sftp:
            return sftp.listdir(folder)

    def server_parts(self, path: str, parts: Sequence[tuple[int, int]], deadline: Deadline) -> list[bytes]:
        """Ranges (offset, size) of a file, given by the path that the server itself knows.

        A range is shorter, or empty, where the server cannot read all of it. For /proc below a Wine guest.
        """
        found = []
        with self._session(f"read {path}", deadline) as sftp, sftp.open(path, "rb") as source:
            total = sum(size for _, size in parts)
            self._allow(total + (total // CHUNK + len(parts)) * REPLY_BYTES)
            for offset, size in parts:
                self._bound(sftp, deadline, f"read {path}")
                source.seek(offset)
                found.append(_readable(source, size))
        return found

    def execute(self, command: str, deadline: Deadline) -> None:
        """Runs a command of the guest's own shell over the same SSH connection.

        Raises `TransportError` unless it ends with exit code 0. For tests that need the Linux below Wine.
        """
        with self._session(f"run {command}", deadline) as _:
            assert self._transport is not None
            with self._transport.open_session(timeout=deadline.remaining()) as channel:
                channel.set_combine_stderr(True)
                channel.exec_command(command)
                output = channel.makefile("rb").read(OUTPUT_LIMIT)
                code = channel.recv_exit_status()
            deadline.check(f"SFTP: run {command}")
        if code != 0:
            raise TransportError(
                f"The guest command {command!r} ended with exit code {code}.",
                remedy="Build the image again: `winvm image build NAME`.",
                detail=output.decode("utf-8", "backslashreplace"),
            )

    def close(self) -> None:
        """Drops the connection; never raises."""
        transport, self._transport, self._sftp = self._transport, None, None
        if transport is not None:
            transport.close()

    @contextlib.contextmanager
    def _session(self, what: str, deadline: Deadline) -> Iterator[BoundedClient]:
        """The SFTP session, bounded by the deadline; paramiko's exceptions are raised as the bench's."""
        try:
            if self._sftp is None or self._transport is None or not self._transport.is_active():
                self._transport, self._sftp = self._connect(deadline)
            self._allow(0)
            _LOG.debug("%s", what)
            self._bound(self._sftp, deadline, what)
            with _cut_off(self._transport, deadline):
                yield self._sftp
        except DeadlineError:
            self.close()  # late answers would be taken for those of later requests
            raise
        except (paramiko.SSHException, paramiko.SFTPError, EOFError, ConnectionError, TimeoutError) as error:
            meter = self._meter
            self.close()
            if meter is not None:
                meter.check(what)
            if isinstance(error, TimeoutError) or deadline.expired:
                raise DeadlineError(f"SFTP: {what} did not finish within {deadline.seconds:g} s.") from error
            raise TransportError(
                f"SFTP: {what}: the connection to {self._name} failed: {_worded(error)}.",
                remedy="Check that the guest runs (`winvm logs`), and start it again.",
            ) from error
        except _MALFORMED as error:
            self.close()
            raise TransportError(
                f"SFTP: {what}: the answer of {self._name} is not SFTP: {_worded(error)}.",
                remedy="Does the port belong to the guest? Start it again: `winvm down`, `winvm up`.",
            ) from error
        except OSError as error:
            raise TransportError(
                f"SFTP: {what}: {_worded(error)}.", remedy="Check the path and the free space."
            ) from error

    def _connect(self, deadline: Deadline) -> tuple[paramiko.Transport, BoundedClient]:
        self.close()
        limited = deadline.at_most(CONNECT_TIMEOUT_S)
        limited.check(f"SFTP: connecting to {self._name}")
        sock = socket.create_connection((self.endpoint.host, self.endpoint.port), limited.remaining())
        self._meter = MeteredSocket(sock, ANSWERS_LIMIT)
        transport = self._transport = paramiko.Transport(self._meter)
        transport.set_log_channel(_LOG.name)
        with _cut_off(transport, limited):
            return transport, self._log_in(transport, limited)

    def _log_in(self, transport: paramiko.Transport, limited: Deadline) -> BoundedClient:
        transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = limited.remaining()
        options = transport.get_security_options()
        options.kex, options.ciphers = KEY_EXCHANGES, CIPHERS
        transport.start_client(timeout=limited.remaining())
        self._check_host_key(transport.get_remote_server_key())
        try:
            key = paramiko.Ed25519Key.from_private_key_file(str(self.endpoint.client_key))
            transport.auth_publickey(self.endpoint.user, key)
        except (OSError, paramiko.AuthenticationException) as error:
            raise AuthenticationError(
                f"The guest at {self._name} refused the key {self.endpoint.client_key}: {error}.",
                remedy="The secrets are not those of this image; build it again: `winvm image build NAME`.",
            ) from error
        channel = transport.open_session(timeout=limited.remaining())
        channel.settimeout(limited.remaining())
        channel.invoke_subsystem("sftp")
        return BoundedClient(channel)

    def _check_host_key(self, shown: paramiko.PKey) -> None:
        fields = self.endpoint.host_key.read_text().split()
        if f"{shown.get_name()} {shown.get_base64()}" != " ".join(fields[:2]):
            raise AuthenticationError(
                f"The host key that {self._name} shows is not the image's own, {self.endpoint.host_key}.",
                remedy="Another program holds the port, or the image was rebuilt: `winvm down`, `winvm up`.",
            )

    def _allow(self, content: int) -> None:
        """Allows `content` bytes of files, and the answers around them, from now on."""
        if self._meter is not None:
            self._meter.allow(content + ANSWERS_LIMIT)

    def _bound(self, sftp: paramiko.SFTPClient, deadline: Deadline, what: str) -> None:
        deadline.check(f"SFTP: {what}")
        channel = sftp.get_channel()
        if channel is not None:
            channel.settimeout(deadline.remaining())

    @property
    def _name(self) -> str:
        return f"{self.endpoint.host}:{self.endpoint.port}"


def _check_kept(size: int | None, sent: int, guest_path: str) -> None:
    """Raises `TransportError` unless the file that was sent has its size in the guest."""
    if size != sent:
        raise TransportError(
            f"SFTP: the guest kept {size} of the {sent} bytes that were sent for {guest_path}.",
            remedy="Check the free space of the guest's disk.",
        )


def _readable(source: paramiko.SFTPFile, size: int) -> bytes:
    """Up to `size` bytes from the file's position; empty if the server refuses."""
    try:
        return source.read(size)[:size]
    except (ConnectionError, TimeoutError):
        raise
    except OSError:
        return b""


def _worded(error: Exception) -> str:
    """An error's text, which the guest's server may have chosen."""
    return printable(str(error) or type(error).__name__)[:MESSAGE_LIMIT]


@contextlib.contextmanager
def _cut_off(transport: paramiko.Transport, deadline: Deadline) -> Iterator[None]:
    """Closes the connection at the deadline.

    paramiko waits without a timeout for a request's answer and for an exit status, and with a new timeout for
    every piece of a packet.
    """
    timer = threading.Timer(deadline.remaining(), transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

"""Mutated answers of an SFTP server: `python -m tests.fuzz.sftp --count 100000`.

The transfer and paramiko's client are real; below them a channel in memory answers instead of SSH.
"""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path

import paramiko

from harness.deadline import Deadline
from harness.errors import InfrastructureError
from harness.transports.sftp import DriveMap, SftpEndpoint, SftpTransfer
from harness.transports.sftpclient import BoundedClient
from tests.fuzz.campaign import Campaign, mutated, scratch_folder

STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
KINDS = (STATUS, HANDLE, DATA, NAME, ATTRS)
NAMES = (b"file.bin", b"FILE.BIN", b"folder", b"..", b"/etc/passwd", b"\x1b[2J", b"\xff\xfe", b"x" * 300, b"")
PLACE = SftpEndpoint("127.0.0.1", 1, "root", Path("host.pub"), Path("client"))


def text(data: bytes) -> bytes:
    """An SFTP string."""
    return struct.pack(">I", len(data)) + data


def attributes(chance: random.Random) -> bytes:
    """Size and mode of a file or folder."""
    mode = chance.choice((0o100644, 0o40755, 0o20666, 0))
    return struct.pack(">IQI", 0b101, chance.choice((0, 5, 1 << 20, 1 << 63)), mode)


def answer(chance: random.Random) -> bytes:
    """The body of one answer, without its length and request number."""
    kind = chance.choice(KINDS)
    body = {
        STATUS: struct.pack(">I", chance.choice((0, 1, 2, 3, 4, 99))) + text(b"said\x1b[31m") + text(b"en"),
        HANDLE: text(b"handle"),
        DATA: text(b"hello"),
        NAME: struct.pack(">I", 2)
        + b"".join(text(chance.choice(NAMES)) * 2 + attributes(chance) for _ in range(2)),
        ATTRS: attributes(chance),
    }[kind]
    return bytes([kind]) + body


def stream(chance: random.Random) -> bytes:
    """Some answers, the last bytes of each mutated now and then; a seed for their order in front."""
    answers = []
    for _ in range(8):
        body = answer(chance)
        body = body if chance.random() < 0.5 else mutated(chance, body, 4096)
        answers.append(text(body))
    return b"".join(answers)


class Wire:
    """A channel whose answers come from `data`: each request gets the next one, with its own number."""

    def __init__(self, data: bytes) -> None:
        self._answers: list[bytes] = []
        while len(data) >= 4:
            size = struct.unpack_from(">I", data)[0]
            self._answers.append(data[4 : 4 + size])
            data = data[4 + size :]
        self._ready = bytearray()

    def send(self, data: bytes) -> int:
        """Takes a request and prepares its answer."""
        data = bytes(data)
        if data[4] == 1:  # SSH_FXP_INIT
            self._ready += text(struct.pack(">BI", 2, 3))
        elif self._answers and len(data) >= 9:
            body = self._answers.pop(0)
            self._ready += text(body[:1] + data[5:9] + body[1:])
        return len(data)

    def recv(self, size: int) -> bytes:
        """The next bytes; none at the end of the answers."""
        taken = bytes(self._ready[:size])
        del self._ready[:size]
        return taken

    def settimeout(self, seconds: float) -> None:
        """Nothing here waits."""

    def get_name(self) -> str:
        """For paramiko's log."""
        return "wire"

    def close(self) -> None:
        """Nothing is open."""


class WiredTransport(paramiko.Transport):
    """A connection that is up."""

    def __init__(self) -> None:
        """Starts no thread."""

    def is_active(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Nothing is open."""


class WiredTransfer(SftpTransfer):
    """The real transfer over a `Wire`."""

    def __init__(self, wire: Wire) -> None:
        super().__init__(PLACE, DriveMap({"C:": "/drive_c"}))
        self._wire = wire

    def _connect(self, deadline: Deadline) -> tuple[paramiko.Transport, BoundedClient]:
        return WiredTransport(), BoundedClient(self._wire)  # type: ignore[arg-type]


class Check:
    """Each operation against one stream of answers."""

    def __init__(self) -> None:
        self._folder = scratch_folder()
        (self._folder / "sent").write_bytes(b"content")

    def __call__(self, data: bytes) -> None:
        """Pushes, pulls and asks for a size; no error but the bench's own, and its words are printable."""
        got = self._folder / "got"
        path = r"C:\folder\file.bin"
        for operation in range(3):
            transfer = WiredTransfer(Wire(data))
            deadline = Deadline.after(5)
            try:
                if operation == 0:
                    transfer.size(path, deadline)
                elif operation == 1:
                    transfer.pull(path, got, deadline, 1 << 20)
                else:
                    transfer.push(self._folder / "sent", path, deadline)
            except InfrastructureError as error:
                assert error.message.replace("\t", " ").isprintable(), error.message
            finally:
                transfer.close()
            with contextlib.suppress(FileNotFoundError):
                assert got.stat().st_size <= 1 << 20
                got.unlink()
        left = {entry.name for entry in self._folder.iterdir()}
        assert left == {"sent"}, left


CAMPAIGN = Campaign(stream, Check(), seconds=4.0, megabytes=128)

if __name__ == "__main__":
    CAMPAIGN.command_line(__doc__, 100_000)

"""Bulk files to and from the guest over its serial line: chunks with offsets, files with a SHA-256."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError, InfrastructureError, TransportError
from harness.host.digest import file_sha256
from harness.transports.serial import call, reply, request
from harness.transports.serial_line import SerialLine
from harness.transports.serial_messages import (
    CANCEL,
    CHUNK,
    PIECE_BYTES,
    READ,
    REPLY,
    STAT,
    WRITE,
    MessageError,
    chunk,
    chunks,
    fields,
    message,
)

CANCEL_TIMEOUT_S = 2.0


class SerialFiles:
    """Copies files over a serial line; implements `harness.interfaces.FileTransfer`."""

    def __init__(self, line: SerialLine) -> None:
        self._line = line

    def push(self, local: Path, guest_path: str, deadline: Deadline) -> int:
        """Copies one file in, creating folders; returns bytes sent.

        The file appears under its name only when it is complete and its digest is right.
        """
        if not local.is_file():
            raise ConfigurationError(f"{local} is not a file.", remedy="Name a file to push.")
        size, sent = local.stat().st_size, 0
        number = self._line.new_call()
        try:
            asked = request(WRITE, number, path=guest_path, size=size, sha256=file_sha256(local))
            self._line.send(asked, deadline)
            with local.open("rb") as source:
                while piece := source.read(PIECE_BYTES):
                    if (early := self._line.next("call", number, Deadline.after(0))) is not None:
                        self._refused(early, guest_path)
                    for packed in chunks(number, sent, piece):
                        self._line.send(packed, deadline)
                    sent += len(piece)
            reply(self._line, number, deadline)
        except BaseException:
            self._cancel(number)
            raise
        finally:
            self._line.forget("call", number)
        return sent

    def pull(self, guest_path: str, local: Path, deadline: Deadline, limit: int) -> int:
        """Copies one file out, refusing more than `limit` bytes; returns bytes received.

        `local` appears only when it is complete, and its folder is created.
        """
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".{local.name}.{secrets.token_hex(4)}.part")
        number = self._line.new_call()
        try:
            self._line.send(request(READ, number, path=guest_path, limit=limit), deadline)
            received = self._receive(number, guest_path, partial, deadline, limit)
            partial.replace(local)
        except BaseException:
            self._cancel(number)
            raise
        finally:
            self._line.forget("call", number)
            partial.unlink(missing_ok=True)
        return received

    def size(self, guest_path: str, deadline: Deadline) -> int | None:
        """Size in bytes, or None when there is no such file."""
        size = call(self._line, STAT, deadline, path=guest_path).get("size")
        if size is not None and (not isinstance(size, int) or size < 0):
            raise TransportError(f"The guest says that {guest_path} has {str(size)[:40]!r} bytes.")
        return size

    def close(self) -> None:
        """Drops the connection; never raises."""
        self._line.close()

    def _receive(self, number: int, guest_path: str, partial: Path, deadline: Deadline, limit: int) -> int:
        received, digest = 0, hashlib.sha256()
        with partial.open("wb") as sink:
            while found := self._line.next("call", number, deadline):
                kind, body = found
                try:
                    if kind == REPLY:
                        answer = fields(body)
                        break
                    if kind != CHUNK:
                        continue
                    offset, data = chunk(body)
                except MessageError as error:
                    raise TransportError(f"Pulling {guest_path} over the serial line: {error}.") from error
                if offset != received or received + len(data) > limit:
                    raise TransportError(
                        f"Pulling {guest_path}: the guest sent {len(data)} bytes for offset {offset} when "
                        f"{received} of at most {limit} bytes were there."
                    )
                sink.write(data)
                digest.update(data)
                received += len(data)
            else:
                raise DeadlineError(
                    f"Pulling {guest_path} did not end within {deadline.seconds:g} s: {received} bytes came."
                )
        self._refused_if(answer, guest_path)
        if (answer.get("size"), answer.get("sha256")) != (received, digest.hexdigest()):
            raise TransportError(
                f"Pulling {guest_path}: what arrived, {received} bytes, is not what the guest read."
            )
        return received

    def _refused(self, early: tuple[int, bytes], guest_path: str) -> None:
        """Raises for a reply that came before the file was sent: it cannot be a success."""
        try:
            self._refused_if(fields(early[1]), guest_path)
        except MessageError as error:
            raise TransportError(f"Pushing {guest_path}: {error}.") from error
        raise TransportError(f"Pushing {guest_path}: the guest answered before it had the file.")

    def _refused_if(self, answer: dict[str, object], guest_path: str) -> None:
        if "error" in answer:
            raise TransportError(f"The guest refused {guest_path}: {str(answer['error'])[:300]!r}.")

    def _cancel(self, number: int) -> None:
        if self._line.lost:
            return
        with contextlib.suppress(InfrastructureError):
            self._line.send(message(CANCEL, number), Deadline.after(CANCEL_TIMEOUT_S))

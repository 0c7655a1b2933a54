"""Files of the guest for the host: written under another name until complete, each digest checked."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

from seriald.serial_messages import PIECE_BYTES, chunks


class Incoming:
    """A file that the host sends: chunks in order, then its digest must be right.

    Args:
        path: its place; folders are made.

    Raises:
        OSError: it cannot be created.
    """

    def __init__(self, path: str, size: int, sha256: str) -> None:
        self._path = Path(path)
        self._size, self._sha256 = size, sha256
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._partial = self._path.with_name(f"{self._path.name}.{secrets.token_hex(4)}.part")
        self._file = self._partial.open("xb")
        self._digest = hashlib.sha256()
        self._written = 0

    @property
    def complete(self) -> bool:
        """Whether all bytes are there."""
        return self._written >= self._size

    def add(self, offset: int, data: bytes) -> None:
        """Writes one chunk; raises `OSError`, and `ValueError` for one out of place."""
        if offset != self._written or offset + len(data) > self._size:
            raise ValueError(
                f"a chunk at {offset} came when {self._written} of {self._size} bytes were there"
            )
        self._file.write(data)
        self._digest.update(data)
        self._written += len(data)

    def finish(self) -> None:
        """Puts the file in its place; raises `OSError`, and `ValueError` if its digest is another."""
        self._file.close()
        if self._digest.hexdigest() != self._sha256:
            raise ValueError("the file's SHA-256 is not the announced one")
        self._partial.replace(self._path)

    def discard(self) -> None:
        """Removes what was written, unless `finish` put it in place; never raises."""
        try:
            self._file.close()
            self._partial.unlink(missing_ok=True)
        except OSError:
            return


def size_of(path: str) -> int | None:
    """Bytes of a file; None if there is none.

    Raises:
        OSError: it is a folder, or cannot be looked at.
    """
    try:
        found = os.stat(path)  # noqa: PTH116 - str in, and no Path is needed
    except FileNotFoundError:
        return None
    return found.st_size


def send(path: str, limit: int, call: int, post: Callable[[bytes], bool]) -> tuple[int, str]:
    """Sends a file as chunks; returns its size and SHA-256 (hex).

    Args:
        post: sends one message; False if nobody wants the file any more.

    Raises:
        OSError: it cannot be read.
        ValueError: it has more than `limit` bytes.
    """
    size, digest = 0, hashlib.sha256()
    with Path(path).open("rb") as file:
        whole = os.fstat(file.fileno()).st_size
        if whole > limit:
            raise ValueError(f"the file has {whole} bytes, more than {limit}")
        for piece in _pieces(file.read):
            if size + len(piece) > limit:
                raise ValueError(f"the file has more than {limit} bytes")
            digest.update(piece)
            if not all(map(post, chunks(call, size, piece))):
                raise ValueError("the transfer was cancelled")
            size += len(piece)
    return size, digest.hexdigest()


def _pieces(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while piece := read(PIECE_BYTES):
        yield piece

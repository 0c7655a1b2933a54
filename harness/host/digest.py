"""SHA-256 of files, and whether a file is unchanged, which reads it again only if its inode has changed."""

from __future__ import annotations

import hashlib
import io
from contextlib import suppress
from pathlib import Path


def file_sha256(file: Path) -> str:
    """SHA-256 of a file of any size, hex. Raises `OSError`."""
    with file.open("rb") as stream:
        return stream_sha256(stream)


def stream_sha256(stream: io.BufferedReader | io.BytesIO) -> str:
    """SHA-256 of what a stream holds from here on, hex."""
    return hashlib.file_digest(stream, "sha256").hexdigest()


def is_unchanged(file: Path, sha256: str, note: Path) -> bool:
    """Whether a file has the digest it was made with.

    The file is read (half a second a gigabyte) unless its inode matches `note`, which the last successful
    check wrote. If `note` cannot be written, as beside another user's file, each call reads the file.

    Raises:
        OSError: the file cannot be read.
    """
    stamp = _stamp(file)
    with suppress(OSError, UnicodeDecodeError):
        if note.read_text(encoding="ascii") == stamp:
            return True
    if file_sha256(file) != sha256:
        return False
    with suppress(OSError):
        note.write_text(stamp, encoding="ascii")
    return True


def _stamp(file: Path) -> str:
    found = file.stat()
    return f"{found.st_ino} {found.st_size} {found.st_mtime_ns} {found.st_ctime_ns}\n"

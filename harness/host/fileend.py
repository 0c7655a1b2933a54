"""The end of a file: of one that the guest may be filling all the while, so never more than was asked for."""

from __future__ import annotations

import os
from pathlib import Path


def last_bytes(file: Path, limit: int) -> bytes:
    """At most the last `limit` bytes.

    Raises:
        OSError: it cannot be read.
    """
    with file.open("rb") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - limit))
        return stream.read(limit)


def last_text(file: Path, limit: int) -> str:
    """The same as text for an error's detail; empty if the file cannot be read."""
    try:
        return last_bytes(file, limit).decode("utf-8", "backslashreplace").strip()
    except OSError:
        return ""

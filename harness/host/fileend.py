"""Reads the end of a file, never more than asked for: the guest may be writing to the file meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

from harness.host.regular import open_regular


def last_bytes(file: Path, limit: int) -> bytes:
    """At most the last `limit` bytes.

    Raises:
        OSError: it cannot be read.
    """
    with open_regular(file) as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - limit))
        return stream.read(limit)


def last_text(file: Path, limit: int) -> str:
    """At most the last `limit` bytes as text, for an error's detail; empty if the file cannot be read."""
    try:
        return last_bytes(file, limit).decode("utf-8", "backslashreplace").strip()
    except OSError:
        return ""

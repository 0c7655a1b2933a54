"""The text of a source file, as much of it as is searched."""

from __future__ import annotations

from pathlib import Path

TEXT_LIMIT = 8 << 20
"""Bytes of a source file that are searched; the largest of the Windows driver samples has 400 KiB."""


def source_text(path: Path) -> bytes:
    """The first `TEXT_LIMIT` bytes of a file; empty if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(TEXT_LIMIT)
    except OSError:
        return b""

"""Reads QEMU's messages from the log that libvirt keeps of it."""

from __future__ import annotations

from pathlib import Path

from harness.host.fileend import last_text


def qemu_said(log: Path, limit: int) -> str:
    """The end of the log without QEMU's command line, whose lines end in a backslash but for the last."""
    return without_command_line(last_text(log, limit))


def without_command_line(text: str) -> str:
    """QEMU's log without its command line."""
    lines = text.strip().splitlines()
    continued = [False, *(line.endswith("\\") for line in lines)]
    return "\n".join(
        line for line, of, on in zip(lines, continued, continued[1:], strict=False) if not (of or on)
    )

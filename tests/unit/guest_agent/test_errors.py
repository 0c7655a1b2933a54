"""Win32 errors show the system's text, whatever code a driver invents."""

from __future__ import annotations

import struct

from agent.errors import system_text


def format_error(code: int) -> str:
    """Takes what a C `long` of Windows can hold, as `ctypes.FormatError` does."""
    struct.pack("<i", code)
    return f"text of {code} "


def test_every_code_has_a_text() -> None:
    assert system_text(5, format_error) == "text of 5"
    assert system_text(0xFFFFFFFF, format_error) == "text of -1"
    assert system_text(0xE0000001, format_error) == f"text of {0xE0000001 - 2**32}"
    assert system_text(5) == ""  # this host is no Windows

"""Which names Windows accepts for a file or folder.

Source: Microsoft Learn, "Naming Files, Paths, and Namespaces". A guest's SFTP server may accept more names,
but no Windows program could open such a file: `NUL` and `COM1` are devices, and Win32 removes trailing
dots.
"""

from __future__ import annotations

NAME_LIMIT = 255
"""UTF-16 units of a name on NTFS; bytes of its UTF-8 form on the file system below Wine."""

_DEVICES = frozenset(
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"]
    + [f"{port}{digit}" for port in ("COM", "LPT") for digit in "0123456789\xb9\xb2\xb3"]  # superscripts too
)
_RESERVED = frozenset(':*?"<>|\x7f')


def refusal(name: str) -> str:
    """Why Windows does not accept `name`, one part of a path; empty if it does."""
    if name in {".", ".."}:
        return "it names a folder relative to another one"
    for character in name:
        if character < " " or character in _RESERVED:
            return f"the character {character!r} is not allowed"
    device = name.partition(".")[0].rstrip(" ").upper()
    if device in _DEVICES:
        return f"{device} is a device, with any extension"
    if name.endswith((".", " ")):
        return "Windows removes dots and spaces at the end of a name"
    units = len(name.encode("utf-16-le", "surrogatepass")) // 2
    size = len(name.encode("utf-8", "surrogatepass"))
    if max(units, size) > NAME_LIMIT:
        return f"it has {units} UTF-16 units, {size} bytes in UTF-8, and the limit is {NAME_LIMIT}"
    return ""

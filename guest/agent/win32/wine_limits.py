"""What Wine refuses before a driver sees it, although the same call reaches the driver on Windows."""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Callable

from agent.win32 import kernel32

_BELOW = re.compile(r"\\\\\.\\(?P<device>[^\\]+)\\(?P<rest>.+)")
_MAX_TARGET = 1024


def open_limit(path: str, exists: Callable[[str], bool] | None = None) -> str:
    """Why Wine alone failed to open a path; empty on Windows, or where Windows would fail too.

    Args:
        exists: whether there is a symbolic link of this name; by default the system is asked, not the driver.
    """
    found = _BELOW.fullmatch(path)
    if found is None or not (exists or _is_link_of_wine)(found["device"]):
        return ""
    return (
        f"Wine opens no name below a device, as {path!r} asks; Windows gives "
        f"{chr(92) + found['rest']!r} to the driver of {found['device']!r} as FileObject->FileName"
    )


def _is_link_of_wine(name: str) -> bool:
    if sys.platform != "win32" or not _is_wine():
        return False
    target = ctypes.create_unicode_buffer(_MAX_TARGET)
    length, _ = kernel32.QueryDosDeviceW.call(name, ctypes.addressof(target), _MAX_TARGET)
    return length != 0


def _is_wine() -> bool:
    return sys.platform == "win32" and hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")

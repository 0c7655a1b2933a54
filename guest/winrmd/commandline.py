"""Turns the words of a Command request into what the operating system starts.

Windows passes one string to a program, so nothing is split or re-quoted here: the command and its arguments
are joined by single spaces exactly as a Windows host does, and clients quote what needs quoting.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

# A builtin that Wine did not translate from a real Windows file says so in its DOS stub.
_WINE_BUILTIN = b"Wine builtin DLL"
_DOS_STUB = slice(0x40, 0x60)

_NO_POWERSHELL = (
    "echo 'powershell' is not recognized as an internal or external command, operable program or batch file."
    " 1>&2 & exit 9009"
)


def direct(command: str, arguments: Sequence[str]) -> str | list[str]:
    """What starts a program without a command interpreter (WINRS_SKIP_CMD_SHELL=TRUE)."""
    if " " in command and not command.startswith('"'):
        command = f'"{command}"'
    line = " ".join([command, *arguments])
    return line if sys.platform == "win32" else shlex.split(line)


def through_shell(
    command: str, arguments: Sequence[str], codepage: int | None, path: str | None
) -> str | list[str]:
    """What runs a line in the command interpreter.

    Args:
        command: first word, or the whole line.
        arguments: the rest of it.
        codepage: console code page for the line; None leaves the system's own.
        path: search path of the command, None for this process's own.
    """
    line = " ".join([command, *arguments])
    if sys.platform != "win32":
        return ["/bin/sh", "-c", line]
    if _is_placeholder_powershell(command, path):
        line = _NO_POWERSHELL
    if codepage is not None and codepage != _oem_codepage():
        line = f"chcp {codepage} >nul & {line}"
    interpreter = os.environ.get("COMSPEC", r"C:\windows\system32\cmd.exe")
    # With /s exactly the outer quotes are removed, whatever the line holds.
    return f'{interpreter} /s /c "{line}"'


def _is_placeholder_powershell(command: str, path: str | None) -> bool:
    """Whether the line would run Wine's powershell.exe, which does nothing and reports success."""
    word = command.strip().split(" ", 1)[0].strip('"')
    if Path(word).stem.lower() != "powershell":
        return False
    program = shutil.which(word, path=path)
    if program is None:
        return False
    with Path(program).open("rb") as file:
        return file.read(_DOS_STUB.stop)[_DOS_STUB].startswith(_WINE_BUILTIN)


def _oem_codepage() -> int:
    if sys.platform != "win32":
        return 0
    import ctypes

    return int(ctypes.WinDLL("kernel32").GetOEMCP())

"""Turns the words of a Command request into what the operating system starts.

Windows passes one string to a program, so nothing is split or quoted again here: the command and its
arguments are joined by single spaces, as a Windows host does, and clients quote what needs quoting.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LIMIT = 32_766
"""UTF-16 units that CreateProcessW takes without the terminator. Wine cuts longer ones silently."""
INTERPRETER_LIMIT = 8191
"""UTF-16 units of a line of cmd.exe. Wine's cmd.exe exits with 255 at a longer one, or never."""

# A program that Wine brings with it says so in its DOS stub.
_WINE_BUILTIN = b"Wine builtin DLL"
_DOS_STUB = slice(0x40, 0x60)

_NO_POWERSHELL = (
    "echo 'powershell' is not recognized as an internal or external command, operable program or batch file."
    " 1>&2 & exit 9009"
)


@dataclass(frozen=True)
class CommandLine:
    """What starts a program.

    Attributes:
        words: command line (Windows) or argument list.
        reads_lines: give the program its standard input one line at a time. Wine's cmd.exe reads a block from
            a pipe, runs the first line in it and drops the rest.
        letters: the encoding in which such a program reads a pipe. Wine's cmd.exe takes the OEM code page,
            whatever its console's is.
    """

    words: str | list[str]
    reads_lines: bool = False
    letters: str = "oem"


def direct(command: str, arguments: Sequence[str]) -> CommandLine:
    """What starts a program without a command interpreter (WINRS_SKIP_CMD_SHELL=TRUE).

    Raises:
        ValueError: the line is too long.
    """
    if " " in command and not command.startswith('"'):
        command = f'"{command}"'
    line = " ".join([command, *arguments])
    _check_length(line, LIMIT, "a command line")
    if sys.platform != "win32":
        return CommandLine(shlex.split(line))
    return CommandLine(line, reads_lines=_is_interactive_shell(command, arguments))


def of_words(words: Sequence[str]) -> CommandLine:
    """What starts a program whose words are given apart and unquoted, as over a serial line.

    Args:
        words: program and arguments, at least one.

    Raises:
        ValueError: the line is too long.
    """
    line = subprocess.list2cmdline(words)
    _check_length(line, LIMIT, "a command line")
    if sys.platform != "win32":
        return CommandLine(list(words))
    return CommandLine(line, reads_lines=_is_interactive_shell(f'"{words[0]}"', words[1:]))


def through_shell(command: str, arguments: Sequence[str], path: str | None) -> CommandLine:
    """What runs a line in the command interpreter.

    Args:
        command: first word, or the whole line.
        arguments: the rest of it.
        path: search path of the command, None for this process's own.

    Raises:
        ValueError: the line is too long.
    """
    line = " ".join([command, *arguments])
    _check_length(line, INTERPRETER_LIMIT, "a line of cmd.exe")
    if sys.platform != "win32":
        return CommandLine(["/bin/sh", "-c", line])
    if _is_placeholder_powershell(command, path):
        line = _NO_POWERSHELL
    interpreter = os.environ.get("COMSPEC", r"C:\windows\system32\cmd.exe")
    # With /s cmd.exe removes exactly the outer quotes, whatever the line contains.
    return CommandLine(f'{interpreter} /s /c "{line}"')


def _is_interactive_shell(command: str, arguments: Sequence[str]) -> bool:
    return _stem(command) == "cmd" and not any(argument.lower().startswith("/c") for argument in arguments)


def _check_length(line: str, limit: int, what: str) -> None:
    units = len(line.encode("utf-16-le", "surrogatepass")) // 2
    if units > limit:
        raise ValueError(f"{what} has at most {limit} UTF-16 units, this one has {units}")


def _is_placeholder_powershell(command: str, path: str | None) -> bool:
    """Whether the line would run Wine's powershell.exe, which does nothing and reports success."""
    if _stem(command) != "powershell":
        return False
    program = shutil.which(_first_word(command), path=path)
    if program is None:
        return False
    with Path(program).open("rb") as file:
        return file.read(_DOS_STUB.stop)[_DOS_STUB].startswith(_WINE_BUILTIN)


def _stem(command: str) -> str:
    """Name of the program without folder and extension, in lower case: `cmd` of `C:\\Windows\\CMD.EXE`."""
    return Path(_first_word(command).replace("\\", "/")).stem.lower()


def _first_word(command: str) -> str:
    command = command.strip()
    return command[1:].partition('"')[0] if command.startswith('"') else command.partition(" ")[0]

"""Tells editors how the driver is compiled: compile_commands.json and .clangd.

Formats: https://clang.llvm.org/docs/JSONCompilationDatabase.html and https://clangd.llvm.org/config.
"""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.toolchain.clang import flags
from harness.toolchain.clang.commands import Command

DATABASE = "compile_commands.json"
SIZE_LIMIT = 64 << 20
MARK = "# Written by winvm build; remove this line to keep the file as you change it."
CLANGD = f"""{MARK}
CompileFlags:
  CompilationDatabase: .
Diagnostics:
  Suppress: [drv_unknown_argument]
"""


def write_editor_files(root: Path, commands: Iterable[Command]) -> None:
    """Writes both files into the project's folder, if they are missing, or are winvm's own and have changed.

    If the folder is not writable, nothing is written: the build does not need the files.
    """
    database = [
        {
            "directory": str(command.folder),
            "file": str(command.unit.path),
            "arguments": list(command.argv),
            "output": str(command.object),
        }
        for command in commands
        if command.unit.language in ("c", "c++")
    ]
    _write_both(root, database)


def write_editor_files_of(root: Path, tree: Path) -> None:
    """As `write_editor_files`, from the compile_commands.json that CMake or Meson left in a build's folder.

    A file that is not winvm's, or a link, stays: with these build systems users have their own.
    """
    present = root / DATABASE
    try:
        if present.is_symlink() or (present.exists() and flags.TARGET[0] not in _start(present)):
            return
        database = json.loads((tree / DATABASE).read_bytes()[: SIZE_LIMIT + 1])
        _write_both(root, [entry | {"arguments": _arguments(entry)} for entry in database])
    except (OSError, ValueError, KeyError, TypeError, StopIteration, AttributeError):
        return  # an editor's help, without which the driver is built all the same


def _arguments(entry: dict[str, str]) -> list[str]:
    """A command's words from the compiler on: the launcher before it is the build's alone."""
    words = shlex.split(entry.pop("command"))
    first = next(number for number, word in enumerate(words) if Path(word).name.startswith("clang"))
    return words[first:]


def _start(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(1 << 16).decode("utf-8", "replace")


def _write_both(root: Path, database: Sequence[Mapping[str, object]]) -> None:
    with contextlib.suppress(OSError):
        _write(root / DATABASE, json.dumps(database, indent=1) + "\n")
        clangd = root / ".clangd"
        if not clangd.exists() or clangd.read_text(encoding="utf-8", errors="replace").startswith(MARK):
            _write(clangd, CLANGD)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        path.write_text(text, encoding="utf-8")

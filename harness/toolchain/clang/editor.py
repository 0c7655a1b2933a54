"""Tells editors how the driver is compiled: compile_commands.json and .clangd.

Formats: https://clang.llvm.org/docs/JSONCompilationDatabase.html and https://clangd.llvm.org/config.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path

from harness.toolchain.clang.commands import Command

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
    with contextlib.suppress(OSError):
        _write(root / "compile_commands.json", json.dumps(database, indent=1) + "\n")
        clangd = root / ".clangd"
        if not clangd.exists() or clangd.read_text(encoding="utf-8", errors="replace").startswith(MARK):
            _write(clangd, CLANGD)


def _write(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != text:
        path.write_text(text, encoding="utf-8")

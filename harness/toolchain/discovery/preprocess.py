"""The text and the macros of a driver's own files, as clang's preprocessor sees them.

`-E -dD` keeps `#define` lines and line markers: what comes from the driver kit's headers is told apart by the
file that a marker names. Format: https://clang.llvm.org/docs/ClangCommandLineReference.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError
from harness.host import programs
from harness.host.resources import wdk_folder
from harness.toolchain.clang import flags
from harness.toolchain.clang.commands import Command

UNIT_S = 60.0
COMPILER = "/usr/lib/llvm"
"""Prefix of clang's own headers."""
_MARKER = re.compile(r'^# \d+ "((?:[^"\\]|\\.)*)"')
_DEFINE = re.compile(r"^#define (\w+)(\([^)]*\))?[ \t]*(.*)$")
_OUTPUT = frozenset({"-c", "-MMD"})
_OUTPUT_WITH_VALUE = frozenset({"-o", "-MF"})


@dataclass
class OwnText:
    """What a unit and the driver's own headers contain after preprocessing.

    Attributes:
        code: text without the preprocessor's lines.
        macros: name -> text of its replacement, for macros without parameters.
        functions: the same for macros with parameters.
        trouble: clang's first error, empty if there is none.
    """

    code: str = ""
    macros: dict[str, str] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)
    trouble: str = ""


def preprocess(command: Command) -> OwnText:
    """Runs the preprocessor on one C or C++ unit. A unit that does not compile gives what could be read."""
    argv = [*without_output(command.argv), "-E", "-dD", "-o", "-"]
    try:
        done = programs.run(argv, Deadline.after(UNIT_S), folder=command.folder)
    except DeadlineError as error:
        return OwnText(trouble=error.message)
    found = _split(done.stdout.decode("utf-8", "replace").splitlines(), command.folder)
    errors = [line for line in done.stderr.decode("utf-8", "replace").splitlines() if "error:" in line]
    found.trouble = errors[0] if errors else ""
    return found


def without_output(argv: Iterable[str]) -> list[str]:
    """A compiler command without the options that say what it writes."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _OUTPUT_WITH_VALUE:
            next(words, None)
        elif word not in _OUTPUT:
            kept.append(word)
    return kept


def _split(lines: Iterable[str], folder: Path) -> OwnText:
    kit = (str(wdk_folder()), str(flags.MINGW), str(flags.MINGW.resolve()), COMPILER)
    found, own, code = OwnText(), False, list[str]()
    for line in lines:
        if marker := _MARKER.match(line):
            name = marker[1].replace("\\\\", "\\")
            own = not name.startswith("<") and not str(folder / name).startswith(kit)
        elif not own:
            continue
        elif macro := _DEFINE.match(line):
            (found.functions if macro[2] else found.macros)[macro[1]] = macro[3]
        elif not line.startswith("#"):
            code.append(line)
    found.code = "\n".join(code)
    return found

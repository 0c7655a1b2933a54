"""Finds LLVM's programs on hosts that have another version than the one that winvm names.

winvm asks for `clang-19`, `lld-link-19`, as Debian calls them. A host without these has newer ones, or, as
Fedora and Arch do, one version without a number. None older than `OLDEST` is taken.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import cache

OLDEST = 19
NEWEST = 25
"""Numbers that are looked for; a program without a number may be newer."""
VERSION_S = 10.0
_NUMBERED = re.compile(rf"((?:clang|lld|llvm)[a-z-]*)-{OLDEST}")


def names(program: str) -> Iterator[str]:
    """The names by which a host may have a program: as asked for, then newer numbers, then without one."""
    yield program
    if asked := _NUMBERED.fullmatch(program):
        yield from (f"{asked[1]}-{number}" for number in range(OLDEST + 1, NEWEST + 1))
        yield asked[1]


def found(program: str, which: Callable[[str], str | None] = shutil.which) -> str:
    """The name by which this host has a program of LLVM; the name asked for if it has none new enough."""
    if not _NUMBERED.fullmatch(program) or which(program):
        return program
    return next(
        (name for name in names(program) if (path := which(name)) and _new_enough(name, path)), program
    )


def _new_enough(name: str, path: str) -> bool:
    return name[-1].isdigit() or _major(path) >= OLDEST


@cache
def _major(path: str) -> int:
    """The first number of a program's version; 0 if it does not say one."""
    try:
        done = subprocess.run(
            [path, "--version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=VERSION_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    said = re.search(r"\b(\d{1,4})\.\d+", done.stdout)
    return int(said[1]) if said else 0

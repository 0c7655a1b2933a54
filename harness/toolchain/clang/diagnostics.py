"""Condenses the compilers' output to the first errors; a file keeps all of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

SHOWN = 5
"""Errors that are shown, of all files together."""
LINES = 6
"""Lines of each error: message, source line, caret, and where a macro was expanded."""
MAX_LOG = 32 << 20
ERROR = re.compile(r"^(?:.*?: )?(?:fatal )?error: ", re.MULTILINE)
"""The beginning of an error of clang, lld and others that write errors as they do."""


def first_errors(outputs: Mapping[str, str], log: Path) -> str:
    """The first errors of a build, and the number of further ones.

    Args:
        outputs: name of each failed file -> its compiler's whole output.
        log: file that gets the whole output.
    """
    whole = "\n".join(f"== {name}\n{text.rstrip()}\n" for name, text in outputs.items())
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(whole[:MAX_LOG], encoding="utf-8", errors="replace")
    shown: list[str] = []
    total = 0
    for name, text in outputs.items():
        lines = text.splitlines()
        starts = [number for number, line in enumerate(lines) if ERROR.match(line)]
        total += max(1, len(starts))
        if not starts:
            starts = [max(0, len(lines) - LINES)]
        for start in starts:
            if len(shown) < SHOWN:
                shown.append(_one(name, lines, start, starts))
    rest = f"{total - len(shown)} more errors; " if total > len(shown) else ""
    return "\n".join([*shown, f"{rest}the compilers' whole output: {log}"])


def _one(name: str, lines: list[str], start: int, starts: list[int]) -> str:
    """One error with its notes, up to the next error."""
    end = min([number for number in starts if number > start], default=len(lines))
    said = "\n".join(lines[start : min(end, start + LINES)])
    return said or f"{name}: failed without a message"

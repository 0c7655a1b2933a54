"""Regular expressions that a scenario expects its DbgPrint output to match.

Both the lines and, for expectations made while a scenario runs, the patterns come from the guest. RE2 matches
in time linear in the line, whatever the pattern; it has no look-around and no back-references.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]

from harness.outcome import DebugRecord

PROGRAM_LIMIT = 1 << 20
"""Bytes of memory of one compiled pattern."""


class PatternError(ValueError):
    """A pattern that RE2 does not take; its text says why."""


def unmatched(patterns: Iterable[str], records: Sequence[DebugRecord]) -> str:
    """Why a slice of debug output does not hold what was expected of it; empty when it does."""
    lines = [record.text for record in records if record.source == "dbgprint"]
    missing = []
    for pattern in patterns:
        try:
            compiled = compile_pattern(pattern)
        except PatternError as error:
            return f"The expected DbgPrint pattern {pattern!r} cannot be used: {error}."
        if not any(compiled.search(line) for line in lines):
            missing.append(pattern)
    if not missing:
        return ""
    return f"DbgPrint has no line that matches {', '.join(map(repr, missing))} among its {len(lines)} lines."


def compile_pattern(pattern: str) -> Any:
    """One compiled pattern. Raises `PatternError`."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PROGRAM_LIMIT
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error

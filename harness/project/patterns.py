"""Regular expressions that a scenario expects its DbgPrint output to match.

Both the lines and, for expectations made while a scenario runs, the patterns come from the guest. RE2 matches
in time linear in the line, whatever the pattern; it has no look-around and no back-references.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import re2  # type: ignore[import-untyped]

from harness.outcome import DebugRecord

PROGRAM_LIMIT = 1 << 20
"""Bytes of memory of one compiled pattern."""
PATTERNS_LIMIT = 200
"""Patterns of one scenario; the agent adds those that it names while it runs."""
LENGTH_LIMIT = 4096
"""Characters of one pattern."""
BUDGET_S = 2.0
"""Time for the matching of all patterns with all lines of one scenario; usually milliseconds."""
_LINES_A_CHECK = 256


class PatternError(ValueError):
    """A pattern that RE2 does not accept; its text says why."""


def unmatched(
    patterns: Iterable[str],
    records: Sequence[DebugRecord],
    budget_s: float = BUDGET_S,
    clock: Callable[[], float] = time.monotonic,
) -> str:
    """Why debug output does not match the patterns expected of it; empty if it does.

    Args:
        budget_s: seconds after which the patterns that are left count as not matched; the text says so.
    """
    lines = [record.text for record in records if record.source == "dbgprint"]
    wanted = list(dict.fromkeys(patterns))
    if len(wanted) > PATTERNS_LIMIT:
        return f"The scenario expects {len(wanted)} DbgPrint patterns; {PATTERNS_LIMIT} is the limit."
    missing, end = [], clock() + budget_s
    for pattern in wanted:
        try:
            compiled = compile_pattern(pattern)
        except PatternError as error:
            return f"The expected DbgPrint pattern {pattern[:LENGTH_LIMIT]!r} cannot be used: {error}."
        for number, line in enumerate(lines):
            if number % _LINES_A_CHECK == 0 and clock() >= end:
                return (
                    f"Matching {len(wanted)} DbgPrint patterns with {len(lines)} lines took more than "
                    f"{budget_s:g} s; it ended at {pattern!r}. Expect fewer or simpler patterns."
                )
            if compiled.search(line):
                break
        else:
            missing.append(pattern)
    if not missing:
        return ""
    others = sum(record.source == "user" for record in records)
    elsewhere = (
        f" Another process than the driver's printed {others} more, which do not count." if others else ""
    )
    return (
        f"DbgPrint has no line that matches {', '.join(map(repr, missing))} among its {len(lines)} lines."
        f"{elsewhere}"
    )


def compile_pattern(pattern: str) -> Any:
    """One compiled pattern. Raises `PatternError`."""
    if len(pattern) > LENGTH_LIMIT:
        raise PatternError(f"it has {len(pattern)} characters; {LENGTH_LIMIT} is the limit")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = PROGRAM_LIMIT
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0]
        raise PatternError(reason.decode() if isinstance(reason, bytes) else str(reason)) from error

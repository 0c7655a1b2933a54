"""What the loop wrote into the guest's journal: cases before they were issued, kept ones, its report.

The guest is untrusted: a bounded part is read, and what is no case is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.fuzz.corpus import Operations, from_operations
from harness.host.fileend import last_bytes

READ_LIMIT = 16 << 20
CASE, KEPT, REPORT = "FuzzCase", "FuzzKept", "FuzzReport"
LAST = 24
"""Cases before a crash that are looked at."""


@dataclass(frozen=True)
class Slice:
    """One slice of the loop.

    Attributes:
        last: the newest cases, the newest last: it was under way when the guest went down.
        kept: cases that reached new code, with the number of edges that had run then.
        operations, cases, seconds, edges, lost: as the loop reported, or as far as the journal shows.
    """

    last: tuple[Operations, ...] = ()
    kept: tuple[tuple[Operations, int], ...] = ()
    operations: int = 0
    cases: int = 0
    seconds: float = 0.0
    edges: int = 0
    lost: int = 0


def read_slice(journal: Path, scenario: str) -> Slice:
    """The newest run of the scenario in the journal; empty if there is none."""
    try:
        entries = [one for one in _entries(journal) if one.get("scenario") == scenario]
    except OSError:
        return Slice()
    entries = [one for one in entries if one.get("run") == entries[-1].get("run")]
    calls = [(one.get("op"), call) for one in entries if isinstance(call := one.get("call"), dict)]
    cases = [call for op, call in calls if op == CASE]
    last = [found for call in cases[-LAST:] if (found := from_operations(call.get("case")))]
    kept = [
        (found, _number(call, "edges"))
        for op, call in calls
        if op == KEPT and (found := from_operations(call.get("case")))
    ]
    report = next((call for op, call in reversed(calls) if op == REPORT), None)
    if report is None:
        issued = _number(cases[-1], "issued") - _number(cases[0], "issued") if cases else 0
        return Slice(tuple(last), tuple(kept), issued, len(cases), 0.0, max((e for _, e in kept), default=0))
    seconds = report.get("seconds")
    return Slice(
        tuple(last),
        tuple(kept),
        _number(report, "operations"),
        _number(report, "cases"),
        float(seconds) if isinstance(seconds, int | float) else 0.0,
        _number(report, "edges"),
        _number(report, "lost"),
    )


def _number(call: dict[str, Any], key: str) -> int:
    value = call.get(key)
    return value if type(value) is int and 0 <= value < 1 << 53 else 0


def _entries(journal: Path) -> Iterator[dict[str, Any]]:
    for line in last_bytes(journal, READ_LIMIT).splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue  # cut off by the crash, or by the limit
        if isinstance(entry, dict):
            yield entry

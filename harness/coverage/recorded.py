"""Reads `coverage/summary.json` of a run's folder, for its report; the folder may be anybody's."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.coverage.changed import ranges
from harness.display.terminal import printable
from harness.host.regular import open_regular

SUMMARY = "coverage/summary.json"
LARGEST = 4 << 20  # bytes
SHOWN_FILES, SHOWN_CHANGES, SHOWN_TROUBLES = 500, 100, 20


class _File(BaseModel):
    model_config = ConfigDict(strict=True)
    lines: int = 0
    covered: int = 0


class _Summary(BaseModel):
    model_config = ConfigDict(strict=True)
    percent: float = Field(ge=0, le=100)
    files: dict[str, _File] = Field(default_factory=dict)
    troubles: list[str] = Field(default_factory=list)
    revision: str = ""
    missed: dict[str, list[int]] = Field(default_factory=dict, alias="changed and not covered")


@dataclass(frozen=True)
class RecordedCoverage:
    """What report.html shows: files as (name, lines, ran), missed as (file, line numbers as text)."""

    percent: float
    files: list[tuple[str, int, int]]
    troubles: list[str]
    revision: str
    missed: list[tuple[str, str]]


def recorded_coverage(run: Path) -> RecordedCoverage | None:
    """The coverage of a run; None if its folder has none, or none that can be read."""
    try:
        with open_regular(run / SUMMARY) as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            return None
        document: Any = json.loads(content)
        found = _Summary.model_validate(document)
    except (OSError, ValueError, RecursionError, ValidationError):
        return None
    return RecordedCoverage(
        found.percent,
        [
            (printable(name), one.lines, one.covered)
            for name, one in sorted(found.files.items())[:SHOWN_FILES]
        ],
        [printable(one) for one in found.troubles[:SHOWN_TROUBLES]],
        printable(found.revision),
        [(printable(name), ranges(lines)) for name, lines in sorted(found.missed.items())[:SHOWN_CHANGES]],
    )

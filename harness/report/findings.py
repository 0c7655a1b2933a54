"""The scenarios that did not pass, each with the source line at which a code review shows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.outcome import Outcome
from harness.report.digest import BAD, CrashGroup, Digest, Row

CHECKOUTS = ("GITHUB_WORKSPACE", "CI_PROJECT_DIR")
"""Environment variables in which CI systems name the checked-out repository."""


@dataclass(frozen=True)
class Finding:
    """One scenario that did not pass. Its texts are free of control characters.

    Attributes:
        file: relative to the repository; empty if the source file is not in the repository.
        fingerprint: the same for the same finding in another run.
    """

    outcome: Outcome
    scenario: str
    message: str
    file: str
    line: int
    fingerprint: str


def findings(digest: Digest, project: Path, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Every scenario that did not pass, in the order of the run.

    A crash is shown at the innermost line of its stack inside the project, other failures at their scenario.

    Args:
        project: folder of winvm.toml; paths in stacks are relative to it, or to the driver's folder in it.
        environment: names the checked-out repository; without that, the project is taken for it.
    """
    repository = _repository(project, environment)
    found = []
    for row in digest.rows.values():
        if row.outcome not in BAD:
            continue
        group = digest.crashes.get(row.signature)
        file, line = (group and _crash_line(group, project, repository)) or _scenario_line(row, repository)
        cause = group.likely_cause if group else ""
        identity = "\0".join((digest.record.cell, row.name, row.outcome, row.signature))
        message = " ".join(filter(None, (row.message, cause))) or row.outcome
        mark = hashlib.sha256(identity.encode()).hexdigest()
        found.append(Finding(row.outcome, row.name, message, file, line, mark))
    return found


def _repository(project: Path, environment: Mapping[str, str]) -> Path:
    for name in CHECKOUTS:
        if (named := environment.get(name)) and project.resolve().is_relative_to(Path(named).resolve()):
            return Path(named).resolve()
    return project.resolve()


def _crash_line(group: CrashGroup, project: Path, repository: Path) -> tuple[str, int] | None:
    for call in group.stack:
        if call.own and (file := _inside(call.file.replace("\\", "/"), project, repository)):
            return file, call.line
    return None


def _scenario_line(row: Row, repository: Path) -> tuple[str, int]:
    file = _inside(row.file, repository, repository) if row.file else ""
    return file, row.line if file else 0


def _inside(named: str, base: Path, repository: Path) -> str:
    """A path relative to the repository; empty if it has no such file: a PDB may name any path."""
    try:
        path = (base / named).resolve()
        return path.relative_to(repository).as_posix() if path.is_file() else ""
    except (OSError, ValueError):
        return ""

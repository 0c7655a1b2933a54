"""Makes a run's history entry and one file by each report writer, after the run has ended.

Where one part fails, the others are still made: a report never fails its run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

from harness.display.terminal import printable
from harness.display.unexpected import as_winvm_error
from harness.errors import HostError
from harness.plugins import REPORTS
from harness.report.digest import BAD, Digest, digest
from harness.report.findings import Finding, findings
from harness.report.history import History
from harness.report.news import Since
from harness.report.recorded import RecordedRun
from harness.report.story import of_scenario
from harness.report.writer import Reported, ReportWriter

FAILING_SINCE = 50
"""Scenarios of which the history is asked since when they do not pass."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reports:
    """What was found while making them. page: report.html, None if it could not be written."""

    digest: Digest
    since: Since | None
    findings: list[Finding]
    page: Path | None


def make_reports(folder: Path, project: Path, artifacts: Path | None, warn: Callable[[str], None]) -> Reports:
    """Reads a run's folder; writes its history entry and its reports.

    Args:
        project: folder of winvm.toml.
        artifacts: the artifacts folder whose history the run belongs to; None leaves history alone.
        warn: called with what could not be made, and why.

    Raises:
        ConfigurationError: there is no run in `folder`.
    """
    run = RecordedRun(folder)
    made = digest(run)
    since: Since | None = None
    if artifacts:
        since = attempt("The history", lambda: _remember(made, artifacts, warn), warn)
    found = attempt("Annotations", lambda: findings(made, project), warn) or []
    reported = Reported(run, made, since, found)
    written = {name: _written(name, reported, warn) for name in REPORTS.names()}
    if run.events_cut:
        warn(run.events_cut)
    return Reports(made, since, found, written["html"])


def _written(name: str, reported: Reported, warn: Callable[[str], None]) -> Path | None:
    writer = attempt(f"The report {name}", lambda: cast("ReportWriter", REPORTS.find(name)), warn)
    return attempt(writer.file_name, lambda: _file(writer, reported), warn) if writer else None


def _file(writer: ReportWriter, reported: Reported) -> Path:
    path = reported.run.folder / writer.file_name
    if path.is_dir():
        raise HostError(f"{path} is a folder.", remedy="Remove or rename it, then run winvm report.")
    return writer.write(reported)


def _remember(run: Digest, artifacts: Path, warn: Callable[[str], None]) -> Since:
    with History(artifacts) as history:
        if history.set_aside:
            warn(
                f"The history was damaged. It was moved to {history.set_aside},"
                " and a new one was made from the runs in its folder."
            )
        history.record(run)
        run_id, cell = run.record.run, run.record.cell or run.record.guest
        failing = {}
        for name in [row.name for row in run.rows.values() if row.outcome in BAD][:FAILING_SINCE]:
            first = next(
                (story.first_bad for story in of_scenario(history, name) if story.cell == cell), None
            )
            if first and first.run != run_id:
                failing[name] = f"{first.run}, commit {first.commit[:12]}" if first.commit else first.run
        return Since(history.news(run_id), history.previous(run_id), failing)


def attempt(what: str, make: Callable[[], _T], warn: Callable[[str], None]) -> _T | None:
    """The result of `make`; None, and a warning, if it raises anything."""
    try:
        return make()
    except Exception as error:  # noqa: BLE001 - whatever failed, the run's results are written already
        warn(printable(f"{what} is missing: {as_winvm_error(error)}"))
        return None

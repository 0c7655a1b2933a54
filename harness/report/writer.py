"""The protocol of report writers: each writes one file, and has a name in `harness.plugins.REPORTS`.

Other packages add writers by an entry point of the group `winvm.reports`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.report.digest import Digest
from harness.report.findings import Finding
from harness.report.news import Since
from harness.report.recorded import RecordedRun


@dataclass(frozen=True)
class Reported:
    """Everything that a report is made from.

    Attributes:
        run: everything in the run's folder. digest: the same, summed up.
        since: what is new against earlier runs; None where the history was left alone or is damaged.
        findings: failures with their source lines.
    """

    run: RecordedRun
    digest: Digest
    since: Since | None
    findings: Sequence[Finding]


class ReportWriter(Protocol):
    """Writes one file into the run's folder."""

    @property
    def file_name(self) -> str:
        """Name of the file in the run's folder."""

    def write(self, reported: Reported) -> Path:
        """Writes the file and returns its path; an exception costs only this file."""

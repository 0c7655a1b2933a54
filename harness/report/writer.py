"""What writes one report of a run: one file each, and a name in `harness.plugins.REPORTS`.

Other packages add theirs by an entry point of the group `winvm.reports`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from harness.report.digest import Digest
from harness.report.findings import Finding
from harness.report.recorded import RecordedRun

if TYPE_CHECKING:
    from harness.report.page import Since


@dataclass(frozen=True)
class Reported:
    """What there is to write about.

    Attributes:
        run: everything in the run's folder. digest: the same, summed up.
        since: what is new against earlier runs; None where the history was left alone, or is damaged.
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
        """Its name there."""

    def write(self, reported: Reported) -> Path:
        """Writes the file and returns its path; whatever is raised costs the user this file only."""

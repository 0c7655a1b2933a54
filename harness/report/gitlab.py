"""gl-code-quality-report.json: findings that GitLab shows beside the changed lines of a merge request.

Source: "Code Quality report format" of GitLab's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from harness.outcome import Outcome
from harness.report.findings import Finding
from harness.report.writer import Reported
from harness.results import write_json

FILE_NAME = "gl-code-quality-report.json"
_SEVERITY = {Outcome.CRASHED: "blocker", Outcome.HUNG: "critical", Outcome.LOST: "minor"}


def code_quality(found: Iterable[Finding]) -> list[dict[str, Any]]:
    """The report as JSON-ready data. Findings without a known source line are left out."""
    return [
        {
            "description": f"{finding.outcome}: {finding.scenario}: {finding.message}",
            "check_name": f"winvm/{finding.outcome}",
            "fingerprint": finding.fingerprint,
            "severity": _SEVERITY.get(finding.outcome, "major"),
            "location": {"path": finding.file, "lines": {"begin": max(1, finding.line)}},
        }
        for finding in found
        if finding.file
    ]


class GitlabWriter:
    """Implements `ReportWriter`."""

    file_name = FILE_NAME

    def write(self, reported: Reported) -> Path:
        """See `ReportWriter`."""
        path = reported.run.folder / FILE_NAME
        write_json(path, code_quality(reported.findings))
        return path


WRITER = GitlabWriter()

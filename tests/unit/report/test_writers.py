"""A report writer is plugged in by one registration, and a writer that fails costs only its own file."""

from __future__ import annotations

from pathlib import Path

from harness.plugins import REPORTS
from harness.report.reports import make_reports
from harness.report.writer import Reported
from tests.fakes.recorded_runs import eventful_run


class Counting:
    """Implements `ReportWriter`: how many results there are."""

    file_name = "count.txt"

    def write(self, reported: Reported) -> Path:
        path = reported.run.folder / self.file_name
        path.write_text(f"{len(reported.findings)}")
        return path


class Broken(Counting):
    file_name = "broken.txt"

    def write(self, reported: Reported) -> Path:
        raise RuntimeError(str(reported.run.folder))


def test_a_second_writer_writes_beside_the_page(tmp_path: Path) -> None:
    folder, warnings = eventful_run(tmp_path, "20261121-052424-ad79c2"), list[str]()
    with REPORTS.added("broken", Broken()), REPORTS.added("count", Counting()):
        made = make_reports(folder, tmp_path, None, warnings.append)
    assert int((folder / "count.txt").read_text()) == len(made.findings) > 0
    assert made.page == folder / "report.html"
    assert (folder / "gl-code-quality-report.json").is_file()
    assert [warning.partition(":")[0] for warning in warnings] == ["broken.txt is missing"]

"""A run's folder whose files are larger than a run writes them: read to a limit, and the rest is told of."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from harness.journal import Event
from harness.report import recorded
from harness.report.recorded import EVENTS_SIZE, RecordedRun
from harness.report.reports import make_reports
from harness.report.timeline import DEEPEST, timeline
from tests.fakes.recorded_runs import EVENTS, result, write_run

SPARSE = 8 << 40


@pytest.mark.parametrize("ended", [True, False])
def test_a_sparse_journal_is_read_to_the_limit(tmp_path: Path, ended: bool) -> None:
    folder = write_run(tmp_path, "one", [result("registers.set_and_get")], events=EVENTS, ended=ended)
    whole = list(RecordedRun(folder).events())
    os.truncate(folder / "run.jsonl", SPARSE)
    began, warnings = time.monotonic(), list[str]()
    made = make_reports(folder, tmp_path, None, warnings.append)
    assert time.monotonic() - began < 60
    assert made.page
    said = f"run.jsonl has {SPARSE} bytes; its first {EVENTS_SIZE} were read."
    assert warnings == [said]
    assert said in made.page.read_text()
    assert list(RecordedRun(folder).events()) == whole != []


def test_more_lines_than_a_run_writes_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(tmp_path, "one", [result("registers.set_and_get")], events=EVENTS)
    monkeypatch.setattr(recorded, "EVENTS_LINES", 3)
    run = RecordedRun(folder)
    assert len(list(run.events())) == 3
    lines = (folder / "run.jsonl").read_bytes().splitlines(keepends=True)
    read, size = len(b"".join(lines[:3])), len(b"".join(lines))
    assert run.events_cut == f"run.jsonl has {size} bytes; its first {read} were read."


def test_a_whole_journal_is_not_cut(tmp_path: Path) -> None:
    run = RecordedRun(write_run(tmp_path, "one", [result("registers.set_and_get")], events=EVENTS))
    assert len(list(run.events())) == len(EVENTS)
    assert run.events_cut == ""


def test_steps_that_never_end_take_no_time() -> None:
    starts: list[Event] = [{"event": "start", "step": "a", "time": 1.0}] * 100_000
    ends: list[Event] = [{"event": "end", "step": "b", "time": 2.0}] * 20_000
    began = time.monotonic()
    made = timeline([*starts, *ends], 0.0, 3.0)
    assert time.monotonic() - began < 30
    assert len(made.bars) <= DEEPEST

"""run.jsonl and the progress lines made from the same events."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from harness.display.progress import Progress
from harness.journal import Event, Journal, StepKind


def test_a_step_is_written_as_it_starts_and_ends(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    with journal.step(StepKind.SETUP, "build", driver="winvm") as found:
        started = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
        assert [event["event"] for event in started] == ["start"]
        found["bytes"] = 5
    journal.close()
    start, end = [json.loads(line) for line in (tmp_path / "run.jsonl").read_text().splitlines()]
    assert start["driver"] == "winvm"
    assert start["kind"] == end["kind"] == "setup"
    assert end["ok"] is True
    assert end["bytes"] == 5
    assert end["seconds"] >= 0


def test_a_failed_step_keeps_its_error(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    with pytest.raises(ValueError, match="no"), journal.step(StepKind.BOOT, "boot"):
        raise ValueError("no")
    end = json.loads((tmp_path / "run.jsonl").read_text().splitlines()[-1])
    assert end["ok"] is False
    assert end["error"] == "ValueError: no"


def test_events_after_close_reach_listeners_only(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "run.jsonl")
    heard: list[Event] = []
    journal.listen(heard.append)
    journal.close()
    journal.note("late")
    assert heard[0]["text"] == "late"
    assert (tmp_path / "run.jsonl").read_text() == ""


def end(step: str, seconds: float, *, ok: bool = True) -> Event:
    return {"event": "end", "step": step, "seconds": seconds, "ok": ok}


def test_only_long_or_failed_steps_are_shown() -> None:
    out = io.StringIO()
    progress = Progress(out, quiet=False)
    progress(end("quick", 0.3))
    progress(end("slow", 3.2))
    progress(end("broken", 0.1, ok=False))
    assert out.getvalue().splitlines() == ["    ok slow  3.2 s", "failed broken  0.1 s"]


def test_ci_is_quiet_and_without_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    out = io.StringIO()
    progress = Progress(out)
    progress(end("slow", 3.2))
    progress({"event": "note", "text": "aside"})
    progress({"event": "warning", "text": "must be told"})
    progress(end("image", 45))
    assert out.getvalue() == "  must be told\n    ok image  45.0 s\n"

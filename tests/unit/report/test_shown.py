"""The lines that a terminal shows of a result that did not pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.outcome import CrashRecord, DebugRecord, KernelCrash, Outcome, ScenarioResult
from harness.report.shown import printed_lines, result_lines

OPERATION = r"DeviceIoControl \\.\Echo code=0x22A00C BUGCHECK in=40 out=0"
CAUSE = "echo.sys, EchoControl (src/echo.c:12), wrote to address 0x10."
ANALYSIS = {
    "fault": {
        "address": 4096, "module": "echo.sys", "offset": 16,
        "frames": [{"function": "EchoControl", "file": "src\\echo.c", "line": 12}],
    },
}  # fmt: skip


@pytest.fixture
def crashed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ScenarioResult:
    """A crash of a project in `tmp_path`, where its developer is."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "artifacts" / "run" / "crashes" / "01-basics.crashes"
    folder.mkdir(parents=True)
    (folder / "analysis.json").write_text(json.dumps(ANALYSIS))
    (tmp_path / "driver" / "src").mkdir(parents=True)
    (tmp_path / "driver" / "src" / "echo.c").touch()
    report = KernelCrash("exception", 0xC0000005, (0xC0000005, 1, 16, 1), 0.0, "wine: page fault")
    crash = CrashRecord(
        report, "basics.crashes", folder, "c5-echo.sys", OPERATION, bundle="crashes/c 5.tar.zst", cause=CAUSE
    )
    message = f"exception 0xc0000005 at 0x1; last operation: {OPERATION}"
    return ScenarioResult(
        "basics.crashes", "basics", Outcome.CRASHED, message, f"{CAUSE}\nwine: page fault", crash=crash
    )


def test_a_crash_says_cause_line_operation_and_how_to_replay_it(
    crashed: ScenarioResult, tmp_path: Path
) -> None:
    assert result_lines(crashed, [tmp_path, tmp_path / "driver"]) == [
        f"crashed: {CAUSE}",
        "  report     exception 0xc0000005 at 0x1",
        "  said       wine: page fault",
        "  at         driver/src/echo.c:12 in EchoControl",
        f"  operation  {OPERATION}",
        "  evidence   artifacts/run/crashes/01-basics.crashes",
        "  reproduce  winvm reproduce 'artifacts/run/crashes/c 5.tar.zst'",
    ]


def test_a_line_of_a_file_that_is_not_here_is_shown_as_it_is_recorded(
    crashed: ScenarioResult, tmp_path: Path
) -> None:
    assert any("src\\echo.c:12 in EchoControl" in line for line in result_lines(crashed, [tmp_path]))


def test_lines_of_a_failure_end_where_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = ScenarioResult(
        "one.a", "one", Outcome.FAILED, "first line\nsecond\x1b line",
        'Traceback\n  File "scenarios/one.py", line 3, in a\n\x07', file=str(tmp_path / "tests" / "one.py"),
    )  # fmt: skip
    assert result_lines(result, []) == [
        r"failed: first line second\x1b line", "Traceback", '  File "tests/one.py", line 3, in a', r"\x07",
    ]  # fmt: skip


def test_a_long_message_keeps_to_the_terminals_width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = ScenarioResult("one.a", "one", Outcome.FAILED, "word " * 60)
    lines = result_lines(result, [])
    assert len(lines) == 5
    assert all(len(line) <= 80 for line in lines)


def test_what_was_printed_is_shown_line_by_line() -> None:
    records = (DebugRecord(0.0, "dbgprint", "echo: here"), DebugRecord(0.0, "wine", "fixme"))
    result = ScenarioResult("one.a", "one", Outcome.FAILED, notes=("a\nb",), dbgprint=records)
    assert list(printed_lines(result)) == [
        "notes and print():",
        "    a",
        "    b",
        "DbgPrint:",
        "    echo: here",
    ]

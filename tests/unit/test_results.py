"""A crash in results.json and crash.json: its fields, and reading them back, of earlier versions too."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from harness.outcome import CrashHint, CrashRecord, KernelCrash, Outcome, ScenarioResult
from harness.report.evidence import crash_folder
from harness.report.recorded import RecordedRun
from harness.results import crash_document
from tests.fakes.recorded_runs import write_run

CRASH = CrashRecord(
    KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 5.0, "the line", ("drv.sys at 0x1000",)),
    "s.down",
    Path("/somewhere/crashes/01-s.down"),
    "e2-drv.sys",
    last_operation="ReadFile",
    artifacts=("analysis.json", "crash.json"),
    notes=("drv.sys at 0x1000", "minidump.dmp is missing"),
    bundle="crashes/crash-e2-drv.sys.tar.zst",
    cause="drv.sys, Control (drv.c:12), freed a block twice.",
)
FIELDS = [
    *("kind", "code", "parameters", "scenario", "time", "text", "last_operation"),
    *("folder", "artifacts", "notes", "signature", "bundle", "cause"),
]


def test_the_fields_are_a_public_interface() -> None:
    assert list(crash_document(CRASH)) == FIELDS
    assert (crash_document(CRASH)["code"], crash_document(CRASH)["parameters"][3]) == ("0x000000e2", "0x4")


def test_a_result_with_a_crash_is_read_back_whole(tmp_path: Path) -> None:
    result = ScenarioResult("s.down", "s", Outcome.CRASHED, crash=CRASH)
    (read,) = RecordedRun(write_run(tmp_path, "one", [result])).results()
    assert read.crash == replace(CRASH, report=replace(CRASH.report, notes=CRASH.notes))


def test_a_crash_of_an_earlier_version_without_folder_is_read(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "one", [ScenarioResult("s.down", "s", Outcome.CRASHED, crash=CRASH)])
    file = folder / "results.json"
    (folder / "crashes").mkdir()
    file.write_text(file.read_text().replace(json.dumps(str(CRASH.folder)), "null"))
    (read,) = RecordedRun(folder).results()
    assert read.crash
    assert crash_folder(folder, read.crash) is None


def test_what_the_guest_s_log_said_of_a_crash_is_kept(tmp_path: Path) -> None:
    hint = CrashHint(what="call of ntoskrnl.exe.CcFlushCache", limit="Wine does not implement it")
    crash = replace(CRASH, report=replace(CRASH.report, hint=hint))
    assert crash_document(crash)["hint"] == {"what": hint.what, "limit": hint.limit}
    folder = write_run(tmp_path, "one", [ScenarioResult("s.down", "s", Outcome.CRASHED, crash=crash)])
    (read,) = RecordedRun(folder).results()
    assert read.crash
    assert read.crash.report.hint == hint


def test_the_stack_that_a_guard_told_is_kept(tmp_path: Path) -> None:
    crash = replace(CRASH, report=replace(CRASH.report, stack=(0x7FFF00001000, 0x7FFF00002000)))
    assert crash_document(crash)["stack"] == ["0x7fff00001000", "0x7fff00002000"]
    assert "stack" not in crash_document(CRASH)
    folder = write_run(tmp_path, "one", [ScenarioResult("s.down", "s", Outcome.CRASHED, crash=crash)])
    (read,) = RecordedRun(folder).results()
    assert read.crash
    assert read.crash.report.stack == crash.report.stack

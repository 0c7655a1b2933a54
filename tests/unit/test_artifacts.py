"""artifacts/<run>/: names, the latest link, and that nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.artifacts import Artifacts
from harness.errors import HostError
from harness.outcome import Crash, DebugRecord, Outcome, RunResult, ScenarioResult

CRASH = Crash("bugcheck", 0xE2, (1, 2, 3, 4), "fault.bugcheck", 5.0)
RESULT = ScenarioResult(
    "fault.bugcheck",
    "fault",
    Outcome.PASSED,
    crash=CRASH,
    dbgprint=(DebugRecord(1.0, "dbgprint", "\x1b[31mred"),),
)


def test_latest_names_the_newest_run(tmp_path: Path) -> None:
    first, second = Artifacts(tmp_path), Artifacts(tmp_path)
    assert first.path != second.path
    assert (tmp_path / "latest").resolve() == second.path
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(
        [first.run_id, second.run_id, "latest"]
    )


def test_a_result_is_on_disk_before_the_run_ends(tmp_path: Path) -> None:
    folder = Artifacts(tmp_path)
    folder.add(RESULT)
    line = json.loads((folder.path / "run.jsonl").read_text().splitlines()[-1])
    assert line["event"] == "result"
    assert line["crash"]["code"] == "0x000000e2"
    assert line["crash"]["parameters"] == ["0x1", "0x2", "0x3", "0x4"]


def test_results_json_holds_the_whole_run(tmp_path: Path) -> None:
    folder = Artifacts(tmp_path)
    path = folder.finish(RunResult(folder.run_id, "wine", 1.0, 2.5, (RESULT,), ("irql",), {"qemu": "10.0.2"}))
    document = json.loads(path.read_text())
    assert document["counts"] == {"passed": 1}
    assert document["missing_capabilities"] == ["irql"]
    assert document["scenarios"][0]["dbgprint"][0]["text"] == "\x1b[31mred"


def test_crash_folders_are_numbered_and_named_safely(tmp_path: Path) -> None:
    folder = Artifacts(tmp_path)
    assert folder.crash_folder("fault.null").name == "01-fault.null"
    assert folder.crash_folder("../../etc").name == "02-.._.._etc"


def test_a_folder_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"winvm\.toml"):
        Artifacts(tmp_path / "file" / "artifacts")

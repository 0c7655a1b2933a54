"""artifacts/<run>/: names, the latest link, and that nothing is lost."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from contextlib import suppress
from pathlib import Path

import pytest

from harness.errors import HostError
from harness.journal import StepKind
from harness.outcome import CrashRecord, DebugRecord, KernelCrash, Outcome, ScenarioResult
from harness.run.artifacts import Artifacts

CRASH = CrashRecord(
    KernelCrash("bugcheck", 0xE2, (1, 2, 3, 4), 5.0), "fault.bugcheck", Path("crashes/01-fault.bugcheck"), ""
)
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
    folder.add(RESULT)
    folder.add(RESULT)
    run = folder.finish("wine", 1.0, ("irql",), {"qemu": "10.0.2"})
    document = json.loads(run.results.read_text())
    assert document["run"] == folder.run_id
    assert document["counts"] == {"passed": 2}
    assert document["missing_capabilities"] == ["irql"]
    assert len(document["scenarios"]) == 2
    assert document["scenarios"][0]["dbgprint"][0]["text"] == "\x1b[31mred"


def test_crash_folders_are_numbered_and_named_safely(tmp_path: Path) -> None:
    folder = Artifacts(tmp_path)
    assert folder.crash_folder("fault.null").name == "01-fault.null"
    assert folder.crash_folder("../../etc").name == "02-.._.._etc"


def test_a_folder_that_cannot_be_made_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(HostError, match=r"winvm\.toml"):
        Artifacts(tmp_path / "file" / "artifacts")


def test_a_killed_runs_results_are_read_line_by_line(tmp_path: Path) -> None:
    folder = Artifacts(tmp_path)
    for _ in range(3):
        folder.add(RESULT)
    _, *lines = folder.results.with_name("results.json.partial").read_text().splitlines()
    assert [json.loads(line.removesuffix(","))["name"] for line in lines] == [RESULT.name] * 3


def test_a_run_without_results_is_a_whole_document(tmp_path: Path) -> None:
    run = Artifacts(tmp_path).finish("wine", 1.0)
    assert json.loads(run.results.read_text())["scenarios"] == []


def test_a_full_disk_keeps_every_result_before_it(small_disk: Path) -> None:
    folder = Artifacts(small_disk)
    big = dataclasses.replace(RESULT, dbgprint=(DebugRecord(1.0, "dbgprint", "x" * 100_000),))
    kept = 0
    with pytest.raises(HostError, match="No space left"):
        for _ in range(20):
            folder.add(big)
            kept += 1
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    with folder.journal.step(StepKind.SCENARIO, "goes on"):
        pass
    document = json.loads(folder.finish("wine", 1.0, (), {"image": "y" * 1000}).results.read_text())
    assert kept > 3
    assert len(document["scenarios"]) == document["counts"]["passed"] == kept


def test_results_cost_no_memory(tmp_path: Path) -> None:
    folder = Artifacts(tmp_path)
    big = dataclasses.replace(RESULT, dbgprint=(DebugRecord(1.0, "dbgprint", "x" * 10_000),) * 10)
    tracemalloc.start()
    try:
        for _ in range(200):
            folder.add(big)
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert folder.counts == {Outcome.PASSED: 200}
    assert folder.crashes == 200

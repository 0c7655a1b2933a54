"""An unexpected crash of a driver: detected, analysed, recorded, and the run continues."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import ROOT, CommandLine

CONFIG = f"""
[driver]
name = "winvm"
folder = "{ROOT / "driver"}"
builds = ["fault"]
[scenarios]
folders = ["scenarios"]
"""

SCENARIOS = '''
"""A scenario that crashes between two that pass, and one that hangs as expected."""

from agent import Context, Crash, scenario

ARM, NULL_WRITE, HANG = 0x22A400, 0x22A408, {hang:#x}
KEY = {key}


@scenario
def before(t: Context) -> None:
    """Passes before the crash."""
    t.open("LySharkSync").close()


@scenario
def guilty(t: Context) -> None:
    """Takes the driver down and expects nothing of the kind."""
    with t.open("WinvmFault") as device:
        device.ioctl(ARM, KEY.to_bytes(4, "little"), 0)
        device.ioctl(NULL_WRITE, b"", 0)


@scenario(expect_dbgprint=["LySharkSync: opened"])
def later(t: Context) -> None:
    """Passes in the restored guest."""
    t.open("LySharkSync").close()


@scenario(deadline_s=3, expect_crash=Crash(hang=True))
def stuck(t: Context) -> None:
    """Ignores everything from here on."""
    with t.open("WinvmFault") as device:
        device.ioctl(ARM, KEY.to_bytes(4, "little"), 0)
        device.ioctl(HANG, b"", 0)
'''


@pytest.fixture(scope="module")
def run(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[str, Any], Path]:
    """Exit code, results.json and artifacts of one run."""
    from scenarios import contract

    assert (contract.FaultIoctl.ARM, contract.FaultIoctl.NULL_WRITE) == (0x22A400, 0x22A408)
    folder = tmp_path_factory.mktemp("crash")
    (folder / "scenarios").mkdir()
    (folder / "scenarios" / "one.py").write_text(
        SCENARIOS.format(key=contract.FAULT_ARM_KEY, hang=contract.FaultIoctl.HANG)
    )
    (folder / "winvm.toml").write_text(CONFIG)
    done = winvm.run(
        *("--config", str(folder / "winvm.toml"), "run", "--json"),
        timeout=600,
        GITHUB_ACTIONS="true",
        GITHUB_STEP_SUMMARY=str(folder / "summary.md"),
    )
    assert done.stdout, done.stderr.decode()
    (folder / "step.log").write_bytes(done.stderr)
    return done.returncode, json.loads(done.stdout), folder / "artifacts" / "latest"


def test_the_run_goes_on_and_says_that_the_guest_crashed(run: tuple[int, dict[str, Any], Path]) -> None:
    code, results, _ = run
    outcomes = {result["name"]: result["outcome"] for result in results["scenarios"]}
    assert outcomes == {
        **{"one.before": "passed", "one.guilty": "crashed"},
        **{"one.later": "passed", "one.stuck": "passed"},
    }
    assert code == 4


def test_the_crash_is_noticed_at_once_and_names_its_cause(run: tuple[int, dict[str, Any], Path]) -> None:
    _, results, _ = run
    (guilty,) = [result for result in results["scenarios"] if result["name"] == "one.guilty"]
    crash = guilty["crash"]
    assert (crash["kind"], crash["code"], crash["parameters"][2:]) == (
        "exception",
        "0xc0000005",
        ["0x0", "0x1"],
    )
    assert crash["time"] - guilty["started"] < 10
    assert crash["last_operation"].startswith("DeviceIoControl WinvmFault code=0x22A408")
    assert "0xc0000005" in guilty["message"]
    assert any("WinvmFault: null write" in record["text"] for record in guilty["dbgprint"])


def test_the_evidence_is_whole(run: tuple[int, dict[str, Any], Path]) -> None:
    _, _, artifacts = run
    (folder,) = (artifacts / "crashes").glob("*-one.guilty")
    assert (folder / "screenshot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (folder / "minidump.dmp").read_bytes()[:4] == b"MDMP"
    journal = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert journal[-1]["scenario"] == "one.guilty"
    assert "null write" in (folder / "dbgprint-tail.txt").read_text()
    assert json.loads((folder / "crash.json").read_text())["scenario"] == "one.guilty"


def test_every_artifact_of_the_run_is_there(run: tuple[int, dict[str, Any], Path]) -> None:
    _, _, artifacts = run
    assert {path.name for path in artifacts.iterdir()} >= {
        "crashes", "dbgprint.log", "junit.xml", "results.json", "run.jsonl",
        "gl-code-quality-report.json", "report.html",
    }  # fmt: skip
    steps = [json.loads(line) for line in (artifacts / "run.jsonl").read_text().splitlines()]
    started = [event["step"] for event in steps if event["event"] == "start"]
    ended = [event["step"] for event in steps if event["event"] == "end"]
    assert sorted(started) == sorted(ended)
    assert "restore guest" in ended
    assert (artifacts / "junit.xml").read_text().count("<testcase ") == 4


def test_a_hung_guest_is_looked_into_and_killed(run: tuple[int, dict[str, Any], Path]) -> None:
    _, results, artifacts = run
    (folder,) = (artifacts / "crashes").glob("*-one.stuck")
    document = json.loads((folder / "hang.json").read_text())
    assert [(rung["name"], rung["gave"]) for rung in document["rungs"]] == [
        *(("break-in", "skipped"), ("nmi", "skipped"), ("screenshot", "answer"), ("kill", "answer")),
    ]
    assert (folder / "screenshot.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    (stuck,) = [result for result in results["scenarios"] if result["name"] == "one.stuck"]
    assert any(
        "hang: break-in: skipped: this guest has no kernel debugger" in note for note in stuck["notes"]
    )
    assert stuck["crash"]["last_operation"].startswith("DeviceIoControl WinvmFault")


def test_the_report_shows_the_crash(run: tuple[int, dict[str, Any], Path]) -> None:
    _, _, artifacts = run
    page = (artifacts / "report.html").read_text()
    assert "<h1>The driver took the guest down</h1>" in page
    assert "NullWrite" in page
    assert "data:image/png;base64," in page
    assert "WinvmFault: null write" in page


def test_the_step_of_ci_shows_where_to_look(run: tuple[int, dict[str, Any], Path]) -> None:
    _, _, artifacts = run
    project = artifacts.parent.parent
    *_, error = (project / "step.log").read_text().strip().splitlines()
    line = (
        (project / "scenarios" / "one.py").read_text().splitlines().index("def guilty(t: Context) -> None:")
    )
    assert error.startswith("::error file=scenarios/one.py,line=")
    assert int(error.partition("line=")[2].partition(",")[0]) in (line, line + 1)  # with its decorator
    assert "title=crashed%3A one.guilty::" in error
    assert "`one.guilty`" in (project / "summary.md").read_text()


def test_history_knows_the_crash(winvm: CommandLine, run: tuple[int, dict[str, Any], Path]) -> None:
    _, results, artifacts = run
    project = str(artifacts.parent.parent / "winvm.toml")
    found = json.loads(winvm.ok("--config", project, "history", "--json"))
    (crash,) = (crash for crash in found["crashes"] if not crash["expected"])
    assert found["cells"]["wine"]["crashes"] == [crash["signature"]]
    assert crash["signature"].endswith("-winvm.sys-NullWrite")
    shown = json.loads(winvm.ok("--config", project, "history", "show", crash["signature"], "--json"))
    assert shown["first_seen"] == results["run"]
    assert any("fault.c" in line for line in shown["stack"])

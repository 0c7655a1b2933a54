"""Crashes replayed from their bundles: with the same signature each time, and with fewer operations."""

from __future__ import annotations

import json
import os
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import ROOT, CommandLine

CONFIG = f"""
[driver]
folder = "{ROOT / "driver"}"
builds = ["release", "fault"]
contract = "contract"
[scenarios]
folders = ["{ROOT / "guest" / "scenarios"}", "{ROOT / "tests" / "vm" / "noisy"}"]
"""
NULL_WRITE, POOL_OVERRUN, SEQUENCE = "fault.null_write", "fault.pool_overrun", "noise.sequence_in_noise"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reproduce")
    (folder / "winvm.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def crashes(winvm: CommandLine, project: Path) -> dict[str, dict[str, Any]]:
    """Scenario -> its crash in results.json, of one run; `bundle` is the whole path."""
    chosen = " or ".join((NULL_WRITE, POOL_OVERRUN, SEQUENCE))
    winvm.ok("--config", str(project / "winvm.toml"), "run", "-k", chosen, timeout=600)
    run = project / "artifacts" / "latest"
    results = json.loads((run / "results.json").read_text())
    found = {result["name"]: result["crash"] for result in results["scenarios"] if result["crash"]}
    assert {crash["signature"] for crash in found.values()} == set(results["signatures"])
    return {name: {**crash, "bundle": str(run.resolve() / crash["bundle"])} for name, crash in found.items()}


def reproduced(winvm: CommandLine, project: Path, bundle: str, *options: str) -> dict[str, Any]:
    config = ("--config", str(project / "winvm.toml"))
    found: dict[str, Any] = json.loads(
        winvm.ok(*config, "reproduce", bundle, "--json", *options, timeout=900)
    )
    return found


def test_a_pool_overrun_is_reproduced(
    winvm: CommandLine, project: Path, crashes: dict[str, dict[str, Any]]
) -> None:
    found = reproduced(winvm, project, crashes[POOL_OVERRUN]["bundle"])
    assert (found["reproduced"], found["times"]) == (3, 3)
    assert {attempt["signature"] for attempt in found["attempts"]} == {crashes[POOL_OVERRUN]["signature"]}


def test_a_sequence_is_reproduced_and_cut_to_its_thirty_operations(
    winvm: CommandLine, project: Path, crashes: dict[str, dict[str, Any]]
) -> None:
    from scenarios import contract, fault

    found = reproduced(winvm, project, crashes[SEQUENCE]["bundle"], "--minimise")
    assert (found["reproduced"], found["times"], found["recurred"]) == (3, 3, 3)
    assert found["recorded"] > 50
    opening, arming, *steps = (operation["call"] for operation in found["minimal"])
    assert opening["path"] == rf"\\.\{fault.LINK}"
    assert arming["code"] == contract.FaultIoctl.ARM
    assert {step["code"] for step in steps} == {contract.FaultIoctl.STEP}
    assert [step["in"] for step in steps] == [struct.pack("<I", step).hex() for step in fault.SEQUENCE]


def test_a_null_write_is_reproduced_by_make(
    winvm: CommandLine, project: Path, crashes: dict[str, dict[str, Any]]
) -> None:
    bundle = crashes[NULL_WRITE]["bundle"]
    command = ["make", "--no-print-directory", "reproduce", f"BUNDLE={bundle}", "SKIP_HOST=1"]
    environment = {**os.environ, "WINVM_HOME": str(winvm.home)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"reproduced 3/3: {crashes[NULL_WRITE]['signature']}" in done.stdout
    assert crashes[NULL_WRITE]["signature"] == "c0000005-winvm.sys-NullWrite"
    assert "scenario fault.null_write" in done.stdout


def test_a_bundle_that_is_cut_short_is_refused(
    winvm: CommandLine, project: Path, crashes: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    damaged = tmp_path / "crash.tar.zst"
    content = Path(crashes[NULL_WRITE]["bundle"]).read_bytes()
    damaged.write_bytes(content[: len(content) // 2])
    done = winvm.run("--config", str(project / "winvm.toml"), "reproduce", str(damaged))
    assert done.returncode == 2
    assert b"is truncated" in done.stderr
    assert b"Traceback" not in done.stderr

"""Whose fault it is, in a real guest: printed crashes, endless scenarios, kept IRPs, wrong byte counts."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import CommandLine

INPUTS = Path(__file__).parent / "evidence"
CONFIG = """
[driver]
name = "evidence"
folder = "."
sources = ["evidence.c"]
[scenarios]
folders = ["scenarios"]
"""
OUTCOMES = {
    "a_program_prints_a_bugcheck": "passed",
    "b_program_prints_the_expected_bugcheck": "failed",
    "c_program_prints_the_drivers_line": "failed",
    "d_driver_prints_its_line": "passed",
    "e_driver_prints_a_bugcheck": "passed",
    "f_driver_prints_the_expected_bugcheck": "failed",
    "g_driver_prints_the_expected_fault": "failed",
    "h_never_ends": "error",
    "i_driver_keeps_the_irp": "hung",
    "j_driver_reports_too_many_bytes": "failed",
    "j2_status_of_the_drivers_own": "passed",
    "k_innocent": "passed",
    "l_driver_really_bugchecks": "passed",
    "m_driver_really_faults": "passed",
}

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The results of one run, by the scenarios' short names."""
    folder = tmp_path_factory.mktemp("evidence")
    (folder / "scenarios").mkdir()
    shutil.copy(INPUTS / "evidence.c", folder)
    shutil.copy(INPUTS / "evidence.py", folder / "scenarios")
    (folder / "winvm.toml").write_text(CONFIG)
    done = winvm.run("--config", str(folder / "winvm.toml"), "run", "--json", timeout=600)
    assert done.returncode == 4, done.stderr.decode()  # for the kept IRP
    found = json.loads(done.stdout)["scenarios"]
    return {result["name"].removeprefix("evidence."): result for result in found}


@pytest.mark.parametrize("name", sorted(OUTCOMES))
def test_each_outcome_has_a_witness(results: Results, name: str) -> None:
    assert results[name]["outcome"] == OUTCOMES[name], results[name]["message"]


def test_a_scenario_that_never_ends_is_named_with_its_line(results: Results) -> None:
    result = results["h_never_ends"]
    assert "did not end within 5 s, with no operation under way: it is at evidence.py:" in result["message"]
    assert "in h_never_ends" in result["message"]
    assert result["crash"] is None


def test_an_irp_that_the_driver_keeps_is_named_with_its_operation_and_code(results: Results) -> None:
    result = results["i_driver_keeps_the_irp"]
    assert "DeviceIoControl" in result["message"]
    assert "code=0x222010" in result["message"]
    assert "has not returned" in result["detail"]


def test_too_large_a_count_shows_both_numbers(results: Results) -> None:
    assert "reported 4096 bytes in a buffer of 8" in results["j_driver_reports_too_many_bytes"]["message"]


def test_a_status_of_the_drivers_own_is_unsigned(results: Results) -> None:
    (note,) = results["j2_status_of_the_drivers_own"]["notes"]
    assert note.startswith("0xe0000001: DeviceIoControl(")


def test_what_a_program_prints_is_kept_as_the_programs(results: Results) -> None:
    records = results["c_program_prints_the_drivers_line"]["dbgprint"]
    assert ("user", "evidence: driver says done") in [(one["source"], one["text"]) for one in records]
    assert (
        "Another process than the driver's printed 1 more"
        in (results["c_program_prints_the_drivers_line"]["message"])
    )

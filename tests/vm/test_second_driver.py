"""Another driver than the sample, with a contract, devices, builds and scenarios of its own, run for real."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.second_driver import write_second_driver
from tests.vm.conftest import CommandLine


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_second_driver(tmp_path_factory.mktemp("project") / "second")


@pytest.fixture(scope="module")
def results(winvm: CommandLine, project: Path) -> dict[str, Any]:
    """Every scenario against every build, by name."""
    config = str(project / "winvm.toml")
    parameter = "--param=text=given on the command line"
    winvm.ok("--config", config, "run", "--build", "all", parameter, timeout=600)
    document = json.loads((project / "artifacts" / "latest" / "results.json").read_text())
    return {scenario["name"]: scenario for scenario in document["scenarios"]}


def test_every_scenario_ran_against_every_build_that_it_fits(results: dict[str, Any]) -> None:
    both = {
        "basics.text_is_kept",
        "basics.lengths_are_checked",
        "twist.texts_of_four_threads_do_not_mix",
        "twist.text_outlives_the_process_that_wrote_it",
        "twist.reading_needs_read_access",
    }
    passed = {f"{name}@{build}" for name in both for build in ("release", "checked")}
    passed |= {"basics.bugcheck_on_request@checked", "twist.release_build_cannot_be_made_to_crash@release"}
    assert {name for name, result in results.items() if result["outcome"] == "passed"} == passed


def test_a_missing_capability_is_named(results: dict[str, Any]) -> None:
    skipped = {name: result["message"] for name, result in results.items() if result["outcome"] == "skipped"}
    name = "twist.restricted_user_cannot_write"
    reason = "guest lacks restricted-user"
    assert skipped == {f"{name}@release": reason, f"{name}@checked": reason}


def test_the_parameter_reached_the_scenario(results: dict[str, Any]) -> None:
    for build in ("release", "checked"):
        lines = [record["text"] for record in results[f"basics.text_is_kept@{build}"]["dbgprint"]]
        assert "second: text set, 25 bytes" in lines


def test_the_expected_bugcheck_was_that_one(results: dict[str, Any], project: Path) -> None:
    crash = results["basics.bugcheck_on_request@checked"]["crash"]
    assert (crash["code"], crash["parameters"]) == ("0x000000e2", ["0x1", "0x2", "0x3", "0x4"])
    assert "SECOND" in crash["last_operation"].upper()
    assert Path(crash["folder"]).is_relative_to(project.resolve())


def test_an_unknown_build_or_parameter_ends_before_anything_boots(winvm: CommandLine, project: Path) -> None:
    for option, named in (("--build=debug", "'debug'"), ("--param=txt=x", "'txt'")):
        done = winvm.run("--config", str(project / "winvm.toml"), "run", option)
        assert done.returncode == 2
        assert named in (done.stdout + done.stderr).decode()

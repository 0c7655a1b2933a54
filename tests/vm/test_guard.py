"""The guard in a Wine guest: each sin of a driver is Verifier's bugcheck, and no clean twin is blamed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import CommandLine

pytestmark = pytest.mark.long

SINS = Path(__file__).parent / "guard"


@pytest.fixture(scope="module")
def results(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Every scenario of the driver of sins, by name without its module's."""
    folder = tmp_path_factory.mktemp("guard") / "sins"
    shutil.copytree(SINS, folder)
    done = winvm.run("--config", str(folder / "winvm.toml"), "run", "--json", timeout=1800)
    return {one["name"].partition(".")[2]: one for one in json.loads(done.stdout)["scenarios"]}


def test_every_sin_is_found_and_no_clean_twin_is_blamed(results: dict[str, Any]) -> None:
    others = {name: one["message"] for name, one in results.items() if one["outcome"] != "passed"}
    assert others == {}
    assert sum(name.startswith("sin_") for name in results) == sum(
        name.startswith("clean_") for name in results
    )
    assert sum(name.startswith("sin_") for name in results) >= 40


def test_a_violation_names_function_and_line_of_the_driver(results: dict[str, Any]) -> None:
    causes = {
        "sin_write_beyond": "sins.sys, WriteBeyond (pool_sins.c:",
        "sin_double_free": "sins.sys, Give (pool_sins.c:",
        "sin_double_completion": "sins.sys, Complete (sins.c:",
        "sin_wait_at_dispatch": "sins.sys, WaitAtDispatch (level_sins.c:",
        "sin_pool_left": "sins.sys, LeaveBehind (level_sins.c:",
    }
    for name, beginning in causes.items():
        assert results[name]["crash"]["cause"].startswith(beginning), results[name]["crash"]
        assert "by the guard's report: " in results[name]["crash"]["cause"]


def test_the_same_sin_has_the_same_signature_in_every_run(results: dict[str, Any]) -> None:
    assert results["sin_write_beyond"]["crash"]["signature"] == "d6-sins.sys-WriteBeyond"
    assert results["sin_pool_left"]["crash"]["signature"] == "c4-sins.sys-LeaveBehind"


def test_the_sample_driver_is_clean(winvm: CommandLine) -> None:
    """Every way to communicate. What an unload under open files leaves is not judged: only Wine does that."""
    done = winvm.run("run", "--guard", "--build", "release", "--json", timeout=900)
    results = {one["name"]: one for one in json.loads(done.stdout)["scenarios"]}
    others = {
        name: one["message"] for name, one in results.items() if one["outcome"] not in ("passed", "skipped")
    }
    assert others == {}
    unloads = [one for name, one in results.items() if name.startswith("lifecycle.stop_under_an_open_handle")]
    assert [one["outcome"] for one in unloads] == ["passed"]

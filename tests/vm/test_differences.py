"""Known differences of a guest, with a profile of the Wine guest that foretells one of two failures."""

from __future__ import annotations

import json
from pathlib import Path

from tests.fakes.bad_input_project import WINVM_TOML
from tests.fakes.tiny_driver import build_tiny_driver
from tests.vm.conftest import CommandLine

SCENARIOS = '''
from agent import Context, scenario


@scenario
def foretold(t: Context) -> None:
    """Fails, and the profile says so."""
    assert 1 == 2


@scenario
def passes(t: Context) -> None:
    """Passes, though the profile says that it fails."""


@scenario
def fails(t: Context) -> None:
    """Fails, and nobody knows why."""
    assert 3 == 4
'''
PROFILE = """
extends = "wine"

[[differs]]
scenario = "own.foretold"
reason = "two is one here"
evidence = "seen by this test"

[[differs]]
scenario = "own.passes"
reason = "it used to fail"
evidence = "seen long ago"
"""


def test_what_the_profile_foretells_is_shown_and_excuses_nothing_else(
    winvm: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "own.py").write_text(SCENARIOS)
    (tmp_path / "winvm.toml").write_text(WINVM_TOML)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "differing.toml").write_text(PROFILE)
    build_tiny_driver(tmp_path)
    options = ("--config", str(tmp_path / "winvm.toml"))
    arguments = (*options, "run", "--guest", "differing", "--artifacts", str(tmp_path / "artifacts"))
    done = winvm.run(*arguments, "own.foretold", "own.passes", timeout=900)
    said = done.stdout.decode()
    assert done.returncode == 0, said[-2000:] + done.stderr.decode()[-2000:]
    assert "own.foretold differs here: two is one here" in said
    folder = next(tmp_path.rglob("results.json")).parent
    results = json.loads((folder / "results.json").read_text())
    assert results["counts"] == {"differs": 1, "passed": 1}
    found = {one["name"]: one for one in results["scenarios"]}
    assert "evidence: seen by this test" in found["own.foretold"]["notes"][-1]
    assert "it used to fail" in found["own.passes"]["notes"][-1]
    assert "differs here: two is one here" in (folder / "junit.xml").read_text()
    assert "<h3>Differs here</h3>" in (folder / "report.html").read_text()
    assert winvm.run(*arguments, "own.fails", timeout=900).returncode == 1

"""Three nights of a small matrix, two guests side by side: nothing new, a new failure, a known failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.vm.conftest import ROOT, CommandLine

CONFIG = f"""
[driver]
name = "winvm"
folder = "{ROOT / "driver"}"
builds = ["release", "fault"]
[scenarios]
folders = ["scenarios"]
[nightly]
verifier = [false, true]
"""

SCENARIOS = '''
"""One scenario for every build, which fails when the test asks for it, and one that crashes the driver."""

from pathlib import Path

from agent import Context, scenario


@scenario
def opens(t: Context) -> None:
    """The device opens."""
    t.open("LySharkSync").close()
    assert {good}


@scenario(build="fault")
def breaks(t: Context) -> None:
    """Takes the driver down from the second night on."""
    if not {good}:
        with t.open("WinvmFault") as device:
            device.ioctl(0x22A400, ({key}).to_bytes(4, "little"), 0)
            device.ioctl(0x22A408, b"", 0)
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("nightly")
    (folder / "scenarios").mkdir()
    (folder / "winvm.toml").write_text(CONFIG)
    return folder


def night(winvm: CommandLine, project: Path, *, good: bool) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code and cells by name."""
    from scenarios import contract

    text = SCENARIOS.format(good=good, key=contract.FAULT_ARM_KEY)
    (project / "scenarios" / "one.py").write_text(text)
    done = winvm.run("--config", str(project / "winvm.toml"), "nightly", "--json", timeout=900)
    assert done.stdout, done.stderr.decode()
    document = json.loads(done.stdout)
    assert document["exit_code"] == done.returncode
    return done.returncode, {cell["cell"]: cell for cell in document["cells"]}


def told(cells: dict[str, dict[str, Any]]) -> str:
    """The cells with their news, whole: pytest cuts a long dictionary."""
    return json.dumps(cells, indent=1)


def test_only_changes_are_an_error(winvm: CommandLine, project: Path) -> None:
    code, cells = night(winvm, project, good=True)
    assert code == 0, told(cells)
    assert {name: cell["verdict"] for name, cell in cells.items()} == {
        "wine/release": "quiet",
        "wine/fault": "quiet",
        "wine/release/driver-verifier": "skipped",
        "wine/fault/driver-verifier": "skipped",
    }
    assert "lacks driver-verifier" in cells["wine/release/driver-verifier"]["message"]

    code, cells = night(winvm, project, good=False)
    assert code == 4, told(cells)
    assert cells["wine/release"]["news"]["failing"] == ["one.opens@release"]
    assert cells["wine/fault"]["news"]["failing"] == ["one.breaks@fault", "one.opens@fault"]
    (signature,) = cells["wine/fault"]["news"]["crashes"]

    code, cells = night(winvm, project, good=False)
    assert code == 0, told(cells)
    assert cells["wine/release"]["news"]["still_failing"] == ["one.opens@release"]
    assert cells["wine/fault"]["news"]["known_crashes"] == [signature]
    assert not winvm.qemus()
    runs = [
        path.name
        for path in (project / "artifacts" / "nightly").iterdir()
        if (path / "results.json").is_file() and not path.is_symlink()
    ]
    assert len(runs) == 6, "each cell has a run of its own, and no two share one"


def test_pytest_does_not_spread_scenarios_over_guests(winvm: CommandLine, project: Path) -> None:
    (project / "scenarios" / "one.py").write_text(SCENARIOS.format(good=True, key=0))
    suite = [sys.executable, "-m", "pytest", str(ROOT / "harness" / "suite"), "-n", "2", "-q"]
    options = ["--winvm-config", str(project / "winvm.toml"), "--winvm-artifacts", str(project / "spread")]
    done = subprocess.run(
        [*suite, *options, "-p", "no:cacheprovider", "--junitxml", str(project / "junit.xml")],
        cwd=project,
        env={**os.environ, "WINVM_HOME": str(winvm.home)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "pytest-xdist (-n)" in done.stdout + done.stderr
    assert not (project / "spread").exists(), "no partial report of each process"
    assert not winvm.qemus()

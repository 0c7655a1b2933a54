"""What `new-driver` and `init` write type-checks and completes where winvm is installed, with no set-up."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from harness.project.scaffold import write_driver, write_project

ROOT = Path(__file__).resolve().parents[3]
WRONG = """
from agent import Context, scenario


@scenario
def wrong(t: Context) -> None:
    t.open(5).rea()
"""


@pytest.fixture(scope="module", params=["driver", "init"])
def project(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("typed") / "echo"
    (write_driver if request.param == "driver" else write_project)(folder, "echo")
    return folder


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=180, check=False)


def mypy(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, sys.executable, "-m", "mypy", "--strict", ".")


def pyright(folder: Path) -> list[dict[str, str]]:
    """The errors it finds, with pyright's own defaults in place of basedpyright's."""
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    report = json.loads(run(folder, *command).stdout)
    assert report["summary"]["filesAnalyzed"] >= 3
    return [one for one in report["generalDiagnostics"] if one["severity"] == "error"]


def test_mypy_accepts_what_is_written(project: Path) -> None:
    done = mypy(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues found" in done.stdout


def test_pyright_accepts_what_is_written(project: Path) -> None:
    assert not pyright(project)


def test_both_find_what_is_wrong(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    write_project(folder, "mine")
    (folder / "scenarios" / "wrong.py").write_text(WRONG)
    said = mypy(folder).stdout
    assert said.count("error:") == 2
    assert 'no attribute "rea"' in said
    rules = {one["rule"] for one in pyright(folder)}
    assert rules == {"reportArgumentType", "reportAttributeAccessIssue"}


def test_every_module_of_the_agent_has_its_stub() -> None:
    installed = Path(sysconfig.get_path("purelib")) / "agent-stubs"
    agent = ROOT / "guest" / "agent"
    names = {path.relative_to(agent).with_suffix(".pyi") for path in agent.rglob("*.py")}
    assert {path.relative_to(installed) for path in installed.rglob("*.pyi")} == names

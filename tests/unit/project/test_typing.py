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


TYPED = '''
"""Every fixture, with its type."""

from __future__ import annotations

from pathlib import Path

from harness.deadline import Deadline
from harness.machine.protocol import Machine
from harness.testing.fixtures import AgentHandle, CrashHandle, DbgPrintHandle, DriverHandle, GuestHandle
from harness.testing.plugin import ScenarioRun


def test_all(
    winvm_scenario: ScenarioRun,
    winvm_agent: AgentHandle,
    winvm_crash: CrashHandle,
    winvm_dbgprint: DbgPrintHandle,
    winvm_driver: DriverHandle,
    winvm_guest: GuestHandle,
    winvm_vm: Machine,
    tmp_path: Path,
) -> None:
    """Each is used once."""
    result = winvm_agent.run(winvm_scenario.run().name, text="x")
    assert result.outcome == "passed"
    assert "x" in [record.text for record in result.dbgprint]
    found = winvm_crash.expect(bugcheck=0xE2, parameters=(1, 2, 3, 4))
    assert found.folder.is_dir()
    assert found.last_operation
    assert winvm_dbgprint.wait_for("x") in winvm_dbgprint.records
    winvm_driver.load("release")
    assert winvm_driver.build
    assert winvm_guest.run("cmd.exe").exit_code == 0
    assert winvm_guest.push(tmp_path, "x") + winvm_guest.pull("x", tmp_path)
    assert winvm_vm.screenshot(tmp_path, Deadline.after(3)).read_bytes()
    assert winvm_vm.ports["ssh"]
'''


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
    (folder / "other.json").write_text('{"typeCheckingMode": "standard"}')
    return [one for one in diagnostics(folder, "--project", "other.json") if one["severity"] == "error"]


def diagnostics(folder: Path, *options: str) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "basedpyright", "--outputjson", "--pythonpath", sys.executable]
    report = json.loads(run(folder, *command, *options).stdout)
    assert report["summary"]["filesAnalyzed"] >= 3
    found: list[dict[str, str]] = report["generalDiagnostics"]
    return found


def test_mypy_accepts_what_is_written(project: Path) -> None:
    done = mypy(project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no issues found" in done.stdout


def test_pyright_accepts_what_is_written(project: Path) -> None:
    assert not pyright(project)


def test_basedpyright_says_nothing_of_what_is_written_nor_of_winvm(project: Path) -> None:
    (project / "test_typed.py").write_text(TYPED)
    assert not diagnostics(project)


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

"""A .sys and its .pdb, no sources: run as they are."""

from __future__ import annotations

import json
from pathlib import Path

from harness.project.scaffold import write_project
from tests.fakes.tiny_driver import build_foreign_driver
from tests.vm.conftest import CommandLine

SCENARIO = '''
from agent import Context, State, scenario


@scenario(expect_dbgprint=[r"^foreign: bye", r"^foreign: hello"])
def loads_again(t: Context) -> None:
    """The driver unloads and loads."""
    with t.services() as services, services.open(t.service) as service:
        service.stop()
        service.wait_for(State.STOPPED)
        service.start()
'''


def test_a_prebuilt_driver_is_signed_loaded_and_tested(winvm: CommandLine, tmp_path: Path) -> None:
    build_foreign_driver(tmp_path)
    write_project(tmp_path, "foreign")
    config = tmp_path / "winvm.toml"
    config.write_text(
        config.read_text().replace('name = "foreign"', 'name = "foreign"\nprebuilt = "tiny.sys"')
    )
    (tmp_path / "scenarios" / "mine.py").write_text(SCENARIO)
    winvm.ok("--config", str(config), "run", timeout=600)
    results = json.loads((tmp_path / "artifacts" / "latest" / "results.json").read_text())
    outcomes = {scenario["name"]: scenario["outcome"] for scenario in results["scenarios"]}
    assert outcomes == {"example.driver_runs": "passed", "mine.loads_again": "passed"}


def test_an_inf_package_needs_another_guest(winvm: CommandLine, tmp_path: Path) -> None:
    write_project(tmp_path, "foreign")
    config = tmp_path / "winvm.toml"
    config.write_text(
        config.read_text().replace(
            'name = "foreign"', 'name = "foreign"\nprebuilt = "foreign.sys"\ninf = "foreign.inf"'
        )
    )
    done = winvm.run("--config", str(config), "run")
    assert done.returncode == 2
    assert "inf-package" in (done.stdout + done.stderr).decode()

"""winvm's options beside those of other plugins and of a project's conftest.py, whichever comes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOML = '[scenarios]\nfolders = ["scenarios"]\n[parameters]\nrounds = 1\n'
SCENARIOS = '''
from agent import Context, scenario


@scenario
def one(t: Context) -> None:
    """One."""
'''
SHOWS = """
def test_it(pytestconfig, record_property):
    for name in ("repeat", "winvm_repeat", "winvm_guest", "winvm_param", "winvm_build"):
        print(name, "=", pytestconfig.getoption(name, "no such option"))
"""
ADDS_REPEAT = """
def pytest_addoption(parser):
    parser.addoption("--repeat", type=int, default=1, help="somebody else's")
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "winvm.toml").write_text(TOML)
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.py").write_text(SCENARIOS)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_shows.py").write_text(SHOWS)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = tests\n")
    return tmp_path


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-s", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=project, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_short_forms_are_winvms_where_nobody_else_has_them(project: Path) -> None:
    done = run(project, "--repeat", "3", "--guest=wine", "--param", "rounds=2", "--build", "all")
    assert done.returncode == 0, done.stdout + done.stderr
    for line in (
        "repeat = no such option",
        "winvm_repeat = 3",
        "winvm_guest = wine",
        "winvm_param = ['rounds=2']",
        "winvm_build = ['all']",
    ):
        assert line in done.stdout


@pytest.mark.parametrize("folder", [".", "tests"])
def test_a_conftest_that_adds_repeat_keeps_it(project: Path, folder: str) -> None:
    (project / folder / "conftest.py").write_text(ADDS_REPEAT)
    done = run(project, "--repeat", "3", "--winvm-repeat", "2", "--guest", "wine")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nrepeat = 3" in "\n" + done.stdout
    assert "winvm_repeat = 2" in done.stdout
    assert "winvm_guest = wine" in done.stdout


@pytest.mark.parametrize("first", ["harness.testing.plugin", "repeating"])
def test_a_plugin_that_adds_repeat_keeps_it_in_both_orders(project: Path, first: str) -> None:
    (project / "repeating.py").write_text(ADDS_REPEAT)
    order = sorted(("harness.testing.plugin", "repeating"), key=lambda name: name != first)
    command = "import sys, pytest; sys.exit(pytest.main(sys.argv[1:]))"
    plugins = [word for name in order for word in ("-p", name)]
    done = subprocess.run(
        [sys.executable, "-c", command, "-s", "-q", "-p", "no:cacheprovider", *plugins, "--repeat", "4"],
        cwd=project, env={"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\nrepeat = 4" in "\n" + done.stdout
    assert "winvm_repeat = 1" in done.stdout


def test_behind_two_dashes_stand_paths(project: Path) -> None:
    done = run(project, "--", "--guest")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--winvm-guest" not in done.stdout + done.stderr


def test_short_fixtures_are_for_those_who_ask(project: Path) -> None:
    (project / "tests" / "test_short.py").write_text("def test_it(scenario):\n    scenario.check()\n")
    refused = run(project, "tests/test_short.py", "--setup-plan")
    assert "fixture 'scenario' not found" in refused.stdout
    (project / "conftest.py").write_text('pytest_plugins = ["harness.testing.short_names"]\n')
    done = run(project, "tests/test_short.py", "--collect-only")
    assert "test_short.py::test_it[mine.one]" in done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("count", [2, 4])
def test_scenarios_are_not_spread_over_processes(project: Path, count: int) -> None:
    (project / "tests" / "test_scenario.py").write_text(
        "def test_it(winvm_scenario):\n    winvm_scenario.check()\n"
    )
    done = run(project, f"-n{count}")
    assert done.returncode == 2, done.stdout + done.stderr
    said = " ".join((done.stdout + done.stderr).split())
    assert "they share one guest. Leave -n out, or use -n 0" in said
    assert "internal error" not in said
    assert not (project / "artifacts").exists()


def test_tests_without_the_guest_are_spread_as_ever(project: Path) -> None:
    done = run(project, "-n2")
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout + done.stderr


SCENARIO_TEST = "def test_it(winvm_scenario):\n    winvm_scenario.check()\n"


@pytest.mark.parametrize("option", ["--winvm-repeat", "--repeat"])
@pytest.mark.parametrize("times", ["0", "-1", "many"])
def test_a_number_of_runs_below_one_is_refused(project: Path, option: str, times: str) -> None:
    done = run(project, f"{option}={times}")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR, done.stdout
    assert f"argument --winvm-repeat: '{times}' is not a number of runs, 1 or more" in done.stderr


@pytest.mark.parametrize("option", ["--winvm-param", "--param"])
def test_a_wrong_parameter_is_told_by_the_option_that_was_typed(project: Path, option: str) -> None:
    (project / "tests" / "test_scenario.py").write_text(SCENARIO_TEST)
    done = run(project, f"{option}=round=2")
    assert done.returncode == 2, done.stdout
    assert f"winvm: {option} round=2: there is no parameter 'round'" in done.stderr


def test_an_error_is_printed_as_winvm_prints_it_and_last(project: Path) -> None:
    (project / "tests" / "test_scenario.py").write_text(SCENARIO_TEST)
    (project / "winvm.toml").write_text("wrong = 1\n")
    done = run(project)
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("winvm:"), done.stderr
    assert "wrong" in done.stderr
    banner = [line for line in done.stdout.splitlines() if line.startswith("!!!")]
    assert len(banner) == 1
    assert "printed below" in banner[0]
    assert "wrong" not in banner[0]


@pytest.fixture
def workspace(project: Path) -> Path:
    """A folder with a project in its folder `inner`, and nothing else."""
    (project / "tests" / "test_scenario.py").write_text(SCENARIO_TEST)
    (project / "pytest.ini").unlink()
    entries = list(project.iterdir())
    (project / "inner").mkdir()
    for entry in entries:
        entry.rename(project / "inner" / entry.name)
    return project


@pytest.mark.parametrize("named", [True, False])
def test_started_above_the_project_its_winvm_toml_is_found(workspace: Path, named: bool) -> None:
    done = run(workspace, "--collect-only", *(["inner"] if named else []))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_scenario.py::test_it[mine.one]" in done.stdout


def test_started_above_two_projects_neither_is_taken_for_the_other(workspace: Path) -> None:
    other = workspace / "other"
    other.mkdir()
    (other / "winvm.toml").write_text("")
    (other / "test_other.py").write_text(SCENARIO_TEST)
    done = run(workspace)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Tests of two projects were collected" in " ".join(done.stderr.split())


def test_without_any_winvm_toml_the_remedy_is_pytests_option(project: Path) -> None:
    (project / "winvm.toml").unlink()
    (project / "tests" / "test_scenario.py").write_text(SCENARIO_TEST)
    done = run(project)
    assert done.returncode == 2, done.stdout
    assert "name it by --winvm-config" in " ".join(done.stderr.split())

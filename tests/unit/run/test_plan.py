"""Which scenarios are run against which driver build, and with which parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import ConfigurationError, ScenarioError
from harness.project import config
from harness.run.plan import Plan, make_plan

SCENARIOS = '''
from agent import Context, Crash, scenario


@scenario
def anywhere(t: Context) -> None:
    """Fits every build."""


@scenario(build="checked", expect_crash=Crash(bugcheck=0xE2))
def only_checked(t: Context) -> None:
    """Fits one."""
'''
TOML = """
[driver]
name = "mine"
builds = ["release", "checked"]
[scenarios]
folders = ["scenarios"]
[parameters]
rounds = 3
text = "hello"
fast = false
share = 0.5
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.py").write_text(SCENARIOS)
    (tmp_path / "winvm.toml").write_text(TOML)
    return tmp_path


def plan(project: Path, builds: tuple[str, ...] = (), parameters: tuple[str, ...] = ()) -> Plan:
    return make_plan(config.load(project / "winvm.toml"), None, builds, parameters)


def names(project: Path, *builds: str) -> list[tuple[str, str]]:
    return [(scenario.name, scenario.build) for scenario in plan(project, builds).scenarios]


def test_by_default_each_scenario_is_there_once(project: Path) -> None:
    assert names(project) == [("mine.anywhere", ""), ("mine.only_checked", "checked")]


def test_a_scenario_is_there_once_for_each_build_it_fits(project: Path) -> None:
    everything = [
        ("mine.anywhere@release", "release"),
        ("mine.anywhere@checked", "checked"),
        ("mine.only_checked@checked", "checked"),
    ]
    assert names(project, "all") == everything
    assert names(project, "release", "checked") == everything
    assert names(project, "release") == everything[:1]


def test_scenarios_of_builds_that_were_not_asked_for_are_counted(project: Path) -> None:
    assert plan(project, ("release",)).left_out == {"checked": 1}
    assert plan(project, ("checked",)).left_out == {}
    assert plan(project).left_out == {}


def test_pytest_says_how_many_scenarios_are_left_out(project: Path) -> None:
    (project / "test_it.py").write_text("def test_scenario(winvm_scenario):\n    winvm_scenario.check()\n")
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider"]
    for options, said in ((["--build", "release"], True), ([], False)):
        done = subprocess.run([*command, *options], cwd=project, capture_output=True, text=True, check=True)
        assert ("winvm: scenarios that --build leaves out: 1 of checked" in done.stdout) is said


def test_an_unknown_build_is_refused(project: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no driver build 'debug'.*release, checked"):
        plan(project, ("debug",))


def test_a_scenario_for_a_build_that_nobody_makes_is_refused_with_its_line(project: Path) -> None:
    (project / "winvm.toml").write_text(TOML.replace(', "checked"', ""))
    with pytest.raises(ScenarioError, match=r"mine\.py:10: mine\.only_checked needs .*'checked'"):
        plan(project)


def test_a_capability_that_no_guest_has_is_refused_with_its_line(project: Path) -> None:
    (project / "scenarios" / "mine.py").write_text(
        SCENARIOS.replace("@scenario\n", '@scenario(needs=["irq"])\n')
    )
    with pytest.raises(ScenarioError, match=r"mine\.py:5: mine\.anywhere needs 'irq', .*irql"):
        plan(project)


def test_parameters_have_the_type_of_their_default(project: Path) -> None:
    assert plan(project).parameters == {"rounds": 3, "text": "hello", "fast": False, "share": 0.5}
    given = plan(project, parameters=("rounds=0x10", "text=a=b", "fast=true", "share=2")).parameters
    assert given == {"rounds": 16, "text": "a=b", "fast": True, "share": 2.0}


@pytest.mark.parametrize("given", ["round=3", "rounds", "rounds=many", "fast=1", "share=half"])
def test_a_parameter_that_cannot_be_meant_is_refused(project: Path, given: str) -> None:
    with pytest.raises(ConfigurationError, match=f"--param {given}: "):
        plan(project, parameters=(given,))


def test_a_parameter_is_a_plain_value(project: Path) -> None:
    (project / "winvm.toml").write_text(TOML + "nested = [1, 2]\n")
    with pytest.raises(ConfigurationError, match=r"parameters\.nested"):
        plan(project)


def test_a_guest_without_driver_verifier_is_reported(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="Guest wine lacks the capability driver-verifier"):
        make_plan(config.load(project / "winvm.toml"), None, verifier=True)
    watched = make_plan(config.load(project / "winvm.toml"), "windows-11", ("release",), verifier=True)
    assert watched.verifier
    assert watched.verified == f"{watched.config.driver.name}.sys"


def test_a_run_without_driver_verifier_does_not_show_it(project: Path) -> None:
    plain = make_plan(config.load(project / "winvm.toml"), "windows-11")
    assert plain.verified == ""
    assert plain.profile.missing_capabilities == {"driver-verifier"}
    watched = make_plan(config.load(project / "winvm.toml"), "windows-11", verifier=True)
    assert watched.profile.missing_capabilities == frozenset()


def test_a_second_scenario_folder_is_one_line_of_winvm_toml(project: Path) -> None:
    (project / "more").mkdir()
    (project / "more" / "others.py").write_text(SCENARIOS)
    (project / "winvm.toml").write_text(TOML.replace('["scenarios"]', '["scenarios", "more"]'))
    assert {name.partition(".")[0] for name, _ in names(project)} == {"mine", "others"}


def test_a_profile_of_the_project_is_planned_with(project: Path) -> None:
    (project / "profiles").mkdir()
    (project / "profiles" / "small.toml").write_text('extends = "wine"\n[hardware]\nmemory_mib = 512\n')
    made = make_plan(config.load(project / "winvm.toml"), "small")
    assert (made.profile.name, made.profile.hardware.memory_mib) == ("small", 512)


def test_the_guard_gives_wine_what_it_watches(project: Path) -> None:
    guarded = make_plan(config.load(project / "winvm.toml").with_changes(guard=True), None)
    assert guarded.config.driver.guard
    assert not guarded.verifier
    assert guarded.provided == {"driver-verifier", "irql"}
    assert {"driver-verifier", "irql"} <= guarded.profile.capabilities


def test_on_windows_driver_verifier_is_the_guard(project: Path) -> None:
    guarded = make_plan(config.load(project / "winvm.toml").with_changes(guard=True), "windows-11")
    assert guarded.verifier
    assert not guarded.config.driver.guard
    assert guarded.verified == "mine.sys"
    assert guarded.provided == {"driver-verifier"}


def test_a_guest_that_cannot_guard_is_reported(project: Path) -> None:
    with pytest.raises(ConfigurationError, match="Guest reactos-x64 cannot guard a driver"):
        make_plan(config.load(project / "winvm.toml").with_changes(guard=True), "reactos-x64")


def test_a_prebuilt_driver_cannot_be_guarded_on_wine(project: Path) -> None:
    (project / "winvm.toml").write_text(TOML.replace('name = "mine"', 'name = "mine"\nprebuilt = "m.sys"'))
    with pytest.raises(ConfigurationError, match="mine is prebuilt, and the guard is linked into a driver"):
        make_plan(config.load(project / "winvm.toml").with_changes(guard=True), None)
    assert make_plan(config.load(project / "winvm.toml").with_changes(guard=True), "windows-11").verifier

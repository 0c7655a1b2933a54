"""The fixtures for tests that use the guest by hand, on fakes: what they wait for, refuse and restore."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import ConfigurationError, DriverLoadError
from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.testing.fixtures import (
    AgentHandle,
    CrashHandle,
    DbgPrintHandle,
    DriverHandle,
    GuestHandle,
    usable,
)
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.run.test_bench import Setup, connected


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    found = Setup(tmp_path, lambda agent, link: None)
    connected(found)
    return found


@dataclass
class FakeSession:
    """The two attributes of the pytest session that `agent` uses."""

    scenarios: list[Scenario]
    recorded: list[ScenarioResult] = field(default_factory=list)

    def plan(self) -> SimpleNamespace:
        return SimpleNamespace(scenarios=self.scenarios)

    def record(self, result: ScenarioResult) -> None:
        self.recorded.append(result)


def commands(setup: Setup, name: str) -> list[dict[str, Any]]:
    return [command for command in setup.guest.links[-1].scripted.commands if command["cmd"] == name]


def test_only_lines_since_the_test_began_are_its_own(setup: Setup) -> None:
    setup.guest.debug.say("before")
    dbgprint = DbgPrintHandle(setup.bench)
    setup.guest.debug.say("WINVM-MARK nonce begin 1 x")
    setup.guest.debug.say("fixme:", source="wine")
    setup.guest.debug.say("mine")
    assert [record.text for record in dbgprint.records] == ["mine"]
    assert dbgprint.wait_for("^m").text == "mine"


def test_a_line_that_does_not_come_fails_the_test(setup: Setup) -> None:
    dbgprint = DbgPrintHandle(setup.bench)
    setup.guest.debug.say("something else")
    with pytest.raises(pytest.fail.Exception, match=r"No DbgPrint line of 1 matched 'never' within 0\.05 s"):
        dbgprint.wait_for("never", timeout_s=0.05)


def test_a_scenario_runs_against_the_loaded_build_with_its_parameters(setup: Setup) -> None:
    session = FakeSession([Scenario("s.one", "s"), Scenario("s.own", "s", build="release")])
    agent = AgentHandle(setup.bench, cast(Any, session))
    DriverHandle(setup.bench).load("fault")
    assert agent.run("s.one", rounds=3).outcome is Outcome.PASSED
    assert commands(setup, "run")[-1]["params"] == {"rounds": 3}
    assert setup.bench.guest.loaded == "fault"
    agent.run("s.own")
    assert setup.bench.guest.loaded == "release"
    assert [result.name for result in session.recorded] == ["s.one", "s.own"]


def test_of_a_scenario_that_is_there_for_every_build_the_loaded_ones_is_run(setup: Setup) -> None:
    variants = [Scenario(f"s.one@{build}", "s", build=build) for build in ("release", "fault")]
    session = FakeSession(variants)
    DriverHandle(setup.bench).load("fault")
    assert AgentHandle(setup.bench, cast(Any, session)).run("s.one").name == "s.one@fault"


def test_an_unknown_scenario_is_reported(setup: Setup) -> None:
    with pytest.raises(ConfigurationError, match=r"no scenario 's\.on'"):
        AgentHandle(setup.bench, cast(Any, FakeSession([Scenario("s.one", "s")]))).run("s.on")


def test_a_driver_is_unloaded_once(setup: Setup) -> None:
    driver = DriverHandle(setup.bench)
    driver.unload()
    assert driver.build == ""
    driver.unload()
    assert len(commands(setup, "unload")) == 1
    driver.load("release")
    assert driver.build == "release"


def test_a_build_that_does_not_exist_is_refused(setup: Setup) -> None:
    with pytest.raises(DriverLoadError, match="no driver build 'debug'"):
        DriverHandle(setup.bench).load("debug")


def test_a_crash_that_no_scenario_made_is_kept_and_the_guest_restored(setup: Setup) -> None:
    crash = CrashHandle(setup.bench, "test_mine")
    assert crash.last is None
    setup.guest.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)
    found = crash.expect(bugcheck=0xE2, parameters=(1, 2, None, None))
    assert found.scenario == "test_mine"
    assert (found.folder / "crash.json").is_file()
    links = len(setup.guest.links)
    GuestHandle(setup.bench).push(Path(__file__), r"C:\x.py")
    assert len(setup.guest.links) > links
    assert setup.bench.guest.loaded == "release"


def test_another_crash_than_the_expected_fails_the_test(setup: Setup) -> None:
    crash = CrashHandle(setup.bench, "test_mine")
    setup.guest.debug.break_down("bugcheck", 0xD1, 1, 2, 3, 4)
    with pytest.raises(pytest.fail.Exception, match="Expected bugcheck 0x000000e2"):
        crash.expect(bugcheck=0xE2)


def test_no_crash_fails_the_test(setup: Setup) -> None:
    with pytest.raises(pytest.fail.Exception, match="did not crash"):
        CrashHandle(setup.bench, "test_mine").expect(bugcheck=0xE2, timeout_s=0.05)


def test_a_driver_that_goes_down_while_it_unloads_is_reported(tmp_path: Path) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def down(command: dict[str, Any]) -> None:
            agent.debug.break_down("bugcheck", 0xCE, 0, 0, 0, 0)

        agent.when("unload", down)

    setup = Setup(tmp_path, script)
    connected(setup)
    with pytest.raises(DriverLoadError, match="crashed while it was unloaded: bugcheck 0x000000ce"):
        DriverHandle(setup.bench).unload()
    assert usable(setup.bench).guest.loaded == "release"


def test_another_fixture_of_the_same_name_needs_no_guest(tmp_path: Path) -> None:
    (tmp_path / "winvm.toml").write_text("")
    (tmp_path / "test_own.py").write_text(
        "import pytest\n@pytest.fixture\ndef bench(): return 1\ndef test_it(bench): assert bench == 1\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout
    assert not (tmp_path / "artifacts").exists()

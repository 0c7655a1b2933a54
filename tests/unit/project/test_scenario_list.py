"""The scenarios of the sample driver: their names, and which of them the Wine guest lacks capabilities for.

Golden files: a test fails when a scenario disappears or begins to be skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.host.resources import vm_folder
from harness.outcome import Scenario
from harness.project import config, measured
from harness.project.measured import Measured
from harness.project.profile import Profile
from harness.project.profiles import load_profile
from harness.toolchain.agent import build_agent, collect

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, ...]:
    folders = config.load(ROOT / config.FILE_NAME).scenario_folders
    return collect(build_agent(tmp_path_factory.mktemp("agent") / "agent.pyz", folders), folders)


@pytest.fixture(scope="module")
def wine() -> Profile:
    found = Measured.model_validate_json((vm_folder() / "measured" / "wine.json").read_bytes())
    return measured.limited(load_profile(vm_folder() / "profiles" / "wine.toml"), found)


def missing(scenario: Scenario, profile: Profile) -> list[str]:
    return sorted(set(scenario.needs) - profile.capabilities)


def test_what_wine_runs(
    scenarios: tuple[Scenario, ...], wine: Profile, golden: Callable[[str, str], None]
) -> None:
    run = [scenario.name for scenario in scenarios if not missing(scenario, wine)]
    golden("scenarios/wine-runs.txt", "".join(f"{name}\n" for name in run))
    assert len({name.partition("[")[0] for name in run}) >= 60


def test_what_wine_skips_and_why(
    scenarios: tuple[Scenario, ...], wine: Profile, golden: Callable[[str, str], None]
) -> None:
    skipped = [(scenario.name, missing(scenario, wine)) for scenario in scenarios]
    golden(
        "scenarios/wine-skips.txt",
        "".join(f"{name}: {', '.join(lacks)}\n" for name, lacks in skipped if lacks),
    )


def test_every_capability_that_wine_lacks_is_shown_by_a_scenario(
    scenarios: tuple[Scenario, ...], wine: Profile
) -> None:
    shown = {need for scenario in scenarios for need in scenario.needs}
    # A kernel dump is the host's to check; the sample driver is installed without an INF.
    assert wine.missing_capabilities - shown == {"kernel-dump", "inf-package"}


def test_every_kind_of_communication_is_covered(scenarios: tuple[Scenario, ...]) -> None:
    kinds = {scenario.kind for scenario in scenarios}
    assert kinds >= {
        "lifecycle", "readwrite", "ioctl_buffered", "ioctl_direct", "ioctl_neither", "mdl", "heap_pointer",
        "event", "direct_read", "asynchronous", "security", "fault",
    }  # fmt: skip


def test_every_scenario_says_what_it_proves(scenarios: tuple[Scenario, ...]) -> None:
    assert [scenario.name for scenario in scenarios if len(scenario.summary) < 20] == []


def test_known_differences_name_scenarios_that_are_there(scenarios: tuple[Scenario, ...]) -> None:
    profiles = [load_profile(file) for file in sorted((vm_folder() / "profiles").glob("*.toml"))]
    known = [one for profile in profiles for one in profile.differs]
    assert known
    assert not [one.scenario for one in known if not any(one.names(found.name) for found in scenarios)]

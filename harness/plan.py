"""What is to be run where: configuration, profile, and the scenarios collected from the agent's zipapp.

Needs neither libvirt nor a compiler, so that collecting is quick and works anywhere.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.build.agent import build_agent, collect
from harness.config import Config
from harness.errors import ConfigurationError, ScenarioError
from harness.machine.profile import Profile
from harness.outcome import Scenario
from harness.patterns import PatternError, compile_pattern
from harness.resources import vm_folder


@dataclass(frozen=True)
class Plan:
    """What is to be run where.

    Attributes:
        agent: the zipapp with agent and scenarios.
        scenarios: in the order in which they are best run: by driver build, those that expect a crash last.
    """

    config: Config
    profile: Profile
    agent: Path
    scenarios: tuple[Scenario, ...]


def make_plan(config: Config, guest: str | None) -> Plan:
    """Collects the scenarios; boots nothing.

    Raises:
        ConfigurationError: there is no such profile.
        ScenarioError: a scenario module cannot be used.
    """
    profiles = vm_folder() / "profiles"
    name = guest or config.guest.profile
    if not (profiles / f"{name}.toml").is_file():
        known = ", ".join(sorted(path.stem for path in profiles.glob("*.toml")))
        raise ConfigurationError(f"There is no guest profile {name!r}.", remedy=f"Known profiles: {known}.")
    with build_lock(config):
        agent = build_agent(config.build_folder / "agent.pyz", config.scenario_folders)
    found = collect(agent, config.scenario_folders)
    _check_patterns(found)
    order = {build: number for number, build in enumerate(("", *config.driver.builds))}
    scenarios = sorted(found, key=lambda s: (order.get(s.build, len(order)), s.expect_crash is not None))
    return Plan(config, Profile.load(profiles / f"{name}.toml"), agent, tuple(scenarios))


def _check_patterns(scenarios: Iterable[Scenario]) -> None:
    for scenario in scenarios:
        for pattern in scenario.expect_dbgprint:
            try:
                compile_pattern(pattern)
            except PatternError as error:
                raise ScenarioError(
                    f"{scenario.file}:{scenario.line}: expect_dbgprint of {scenario.name} "
                    f"holds {pattern!r}: {error}.",
                    remedy="Use RE2 syntax: no look-around, no back-references.",
                ) from error


@contextmanager
def build_lock(config: Config) -> Iterator[None]:
    """One process at a time in the build folder: two runs may start in the same second."""
    config.build_folder.mkdir(parents=True, exist_ok=True)
    with (config.build_folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield

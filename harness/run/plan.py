"""What is to be run where: configuration, profile, and the scenarios collected from the agent's zipapp.

Needs neither libvirt nor a compiler, so that collecting is quick and works anywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.display.suggestion import did_you_mean
from harness.errors import ConfigurationError, ScenarioError
from harness.host.locks import hold
from harness.outcome import Scenario
from harness.project.config import Config, Parameter
from harness.project.parameters import parameters_of
from harness.project.patterns import PatternError, compile_pattern
from harness.project.profile import CAPABILITIES, INF_PACKAGE, IRQL, VERIFIER, Profile
from harness.project.profiles import find_profile
from harness.toolchain.agent import build_agent, collect

ALL_BUILDS = "all"
GUARDED_GUESTS = ("wine",)
"""Flavours of guest whose drivers run in a process, which the guard needs."""
GUARD_PROVIDES = frozenset({VERIFIER, IRQL})
"""Capabilities that a guest has while the guard watches the driver."""


@dataclass(frozen=True)
class Plan:
    """What is to be run where.

    Attributes:
        agent: the zipapp with agent and scenarios.
        scenarios: in the order in which they are best run: by driver build, those that expect a crash last.
        parameters: what every scenario finds in `t.params`.
        elsewhere: scenario that the chosen builds leave out -> the only build that it runs against.
        verifier: whether Driver Verifier watches the driver.
    """

    config: Config
    profile: Profile
    agent: Path
    scenarios: tuple[Scenario, ...]
    parameters: Mapping[str, Parameter]
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    verifier: bool = False

    @property
    def left_out(self) -> Mapping[str, int]:
        """Build that was not asked for -> number of scenarios that run only against it."""
        return Counter(self.elsewhere.values())

    @property
    def provided(self) -> frozenset[str]:
        """Capabilities that the run itself switches on."""
        if self.config.driver.guard:
            return GUARD_PROVIDES
        return frozenset({VERIFIER} if self.verifier else ())

    @property
    def verified(self) -> str:
        """File name of the driver that Driver Verifier watches; empty without Driver Verifier."""
        return f"{self.config.driver.name}.sys" if self.verifier else ""


def make_plan(
    config: Config,
    guest: str | None,
    builds: Sequence[str] = (),
    parameters: Iterable[str] = (),
    *,
    verifier: bool = False,
    option: str = "--param",
) -> Plan:
    """Collects the scenarios; boots nothing.

    Args:
        builds: driver builds to run against, or `all`; every scenario is then planned once for each build
            that it fits, as `name@build`. By default a scenario runs against its own build, else the first.
        parameters: `name=value`, overriding the values of winvm.toml.
        verifier: Driver Verifier watches the driver.
        option: the option that gave the parameters, as messages name it.

    Raises:
        ConfigurationError: there is no such profile, build or parameter, or the guest lacks Driver Verifier
            or cannot install an INF package.
        ScenarioError: a scenario module cannot be used.
    """
    chosen = _chosen_builds(config, builds)
    values = parameters_of(config.parameters, parameters, option)
    name = guest or config.guest.profile
    profile = find_profile(name, config.root)
    if config.driver.inf and INF_PACKAGE not in profile.capabilities:
        raise ConfigurationError(
            f"driver.inf names {config.driver.inf}, but guest {name} lacks the capability {INF_PACKAGE}.",
            remedy="Remove driver.inf to load the driver as a plain service, or use a Windows guest.",
        )
    if verifier and VERIFIER not in profile.capabilities:
        raise ConfigurationError(
            f"Guest {name} lacks the capability {VERIFIER}.",
            remedy="Run without Driver Verifier, or choose a guest that has it.",
        )
    config, verifier = _watched(config, profile, verifier=verifier)
    if config.driver.guard:
        profile = profile.having(GUARD_PROVIDES)
    elif not verifier:
        profile = profile.without(VERIFIER)  # the guest has Driver Verifier, but this run does not use it
    with hold(config.build_lock):
        agent = build_agent(config.build_folder / "agent.pyz", config.scenario_folders)
    found = collect(agent, config.scenario_folders)
    _check_patterns(found)
    _check_builds(found, config.driver.builds)
    _check_needs(found)
    elsewhere: Mapping[str, str] = {}
    if chosen:
        elsewhere = {one.name: one.build for one in found if one.build not in ("", *chosen)}
        found = tuple(_variants(found, chosen))
    order = {build: number for number, build in enumerate(("", *config.driver.builds))}
    scenarios = sorted(found, key=lambda s: (order[s.build], s.expect_crash is not None))
    return Plan(config, profile, agent, tuple(scenarios), values, elsewhere, verifier)


def _watched(config: Config, profile: Profile, *, verifier: bool) -> tuple[Config, bool]:
    """The configuration, and whether Driver Verifier watches: where a guest has it, it is the guard.

    Raises:
        ConfigurationError: the driver cannot be guarded in this guest.
    """
    if config.driver.guard and VERIFIER in profile.capabilities:
        return config.without_guard(), True
    if config.driver.guard and profile.guest not in GUARDED_GUESTS:
        raise ConfigurationError(
            f"Guest {profile.name} cannot guard a driver: it has no Driver Verifier, and the guard runs on "
            f"{', '.join(GUARDED_GUESTS)} guests only.",
            remedy="Run without --guard and without driver.guard, or choose another guest.",
        )
    if config.driver.guard and config.driver.prebuilt:
        raise ConfigurationError(
            f"{config.driver.name} is prebuilt, and the guard is linked into a driver when it is built.",
            remedy="Run without --guard and without driver.guard, or choose a guest with Driver Verifier.",
        )
    return config, verifier or profile.verified


def _chosen_builds(config: Config, builds: Sequence[str]) -> tuple[str, ...]:
    known = config.driver.builds
    if unknown := sorted(set(builds) - {ALL_BUILDS, *known}):
        raise ConfigurationError(
            f"There is no driver build {unknown[0]!r}.{did_you_mean(unknown[0], (*known, ALL_BUILDS))}",
            remedy=f"Choose one of the builds in winvm.toml: {', '.join(known)}.",
        )
    return known if ALL_BUILDS in builds else tuple(dict.fromkeys(builds))


def _check_builds(scenarios: Iterable[Scenario], builds: Sequence[str]) -> None:
    for scenario in scenarios:
        if scenario.build and scenario.build not in builds:
            raise ScenarioError(
                f"{scenario.file}:{scenario.line}: {scenario.name} needs the driver build "
                f"{scenario.build!r}, which is not in winvm.toml.",
                remedy=f"Name one of {', '.join(builds)}, or add it to driver.builds.",
            )


def _check_needs(scenarios: Iterable[Scenario]) -> None:
    """Refuses unknown capabilities: a misspelt one would skip its scenario for ever."""
    for scenario in scenarios:
        if unknown := sorted(set(scenario.needs) - CAPABILITIES):
            raise ScenarioError(
                f"{scenario.file}:{scenario.line}: {scenario.name} needs {unknown[0]!r}, "
                f"which is not a capability of any guest.{did_you_mean(unknown[0], CAPABILITIES)}",
                remedy=f"Choose among: {', '.join(sorted(CAPABILITIES))}.",
            )


def _variants(scenarios: Iterable[Scenario], builds: Sequence[str]) -> Iterator[Scenario]:
    """Each scenario once per build that it can run against."""
    for scenario in scenarios:
        for build in builds:
            if scenario.build in ("", build):
                yield replace(scenario, name=f"{scenario.name}@{build}", build=build)


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

"""Which scenarios, tests and nightly cells a guest cannot run for lack of a capability, and the reason."""

from __future__ import annotations

from collections.abc import Iterable

from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.project.profile import Profile


def missing(profile: Profile, needs: Iterable[str]) -> tuple[str, ...]:
    """The capabilities in `needs` that the profile's guest lacks, sorted."""
    return tuple(sorted(set(needs) - profile.capabilities))


def reason(profile: Profile, needs: Iterable[str]) -> str:
    """Names every capability in `needs` that the guest lacks, or else those untried; empty if it has all."""
    lacked = missing(profile, needs)
    untried = [name for name in lacked if name in profile.untried_capabilities]
    if lacked and lacked == tuple(untried):
        return f"untried on this guest's image: {', '.join(untried)}"
    return f"guest lacks {', '.join(name for name in lacked if name not in untried)}" if lacked else ""


def skipped(profile: Profile, scenario: Scenario) -> ScenarioResult | None:
    """The result of a scenario that the guest cannot run; None if it can."""
    if not (why := reason(profile, scenario.needs)):
        return None
    return ScenarioResult(
        scenario.name,
        scenario.kind,
        Outcome.SKIPPED,
        why,
        build=scenario.build,
        file=scenario.file,
        line=scenario.line,
    )

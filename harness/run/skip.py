"""Scenarios, tests and cells of a night that a guest lacks a capability for, and the words that say so."""

from __future__ import annotations

from collections.abc import Iterable

from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.project.profile import Profile


def missing(profile: Profile, needs: Iterable[str]) -> tuple[str, ...]:
    """The capabilities among `needs` that the profile's guest does not have, sorted."""
    return tuple(sorted(set(needs) - profile.capabilities))


def reason(profile: Profile, needs: Iterable[str]) -> str:
    """Why the guest cannot run what has these `needs`, naming every missing capability; empty if it can."""
    lacked = missing(profile, needs)
    return f"guest lacks {', '.join(lacked)}" if lacked else ""


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

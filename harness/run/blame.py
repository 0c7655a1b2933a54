"""Whose crash it is, where the scenario that ran when it came may not have caused it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from harness.agent.session import ScenarioCrash
from harness.crash.capture import last_run
from harness.outcome import Scenario

NOT_EXPECTED = (
    "It expects a crash, but had issued no operation yet, so this one is not its. Programs that a scenario "
    "starts without t.run_program are not seen."
)
MOST_CANDIDATES = 4
"""Names of earlier scenarios in a message."""


def blamed(came: ScenarioCrash, scenario: Scenario, before: tuple[int, str], journal: Path) -> ScenarioCrash:
    """The crash, blamed on the scenario before if this one has issued no operation since.

    Args:
        before: number and name of the scenario that ran last.
        journal: the agent's.
    """
    number, name = before
    if came.scenario != scenario.name or came.report.kind == "hang":
        return came
    if not number or last_run(journal) != number:
        return came
    note = (
        f"{scenario.name} had issued no operation yet: the last ones are those of {name}. Programs that "
        "a scenario starts without t.run_program are not seen."
    )
    return ScenarioCrash(dataclasses.replace(came.report, notes=(*came.report.notes, note)), name)


def is_early(scenario_id: int, journal: Path) -> bool:
    """Whether the last operation is certainly none of this run of a scenario."""
    return last_run(journal) not in (None, scenario_id)


def presumption(came: ScenarioCrash, scenario: Scenario, earlier: Sequence[str]) -> str:
    """Who may have caused a crash that came while no operation was under way; empty if one may have been.

    Args:
        earlier: the scenarios that ran before since the guest was restored, the newest first.
    """
    if not came.quiet or came.scenario != scenario.name:
        return ""
    names = ", ".join(earlier[:MOST_CANDIDATES]) + (" or one before" if earlier[MOST_CANDIDATES:] else "")
    whose = f"an earlier scenario's ({names}) or its own" if earlier else "its own"
    return f"No operation of {scenario.name} was under way: presumably {whose} timer, DPC or work item."

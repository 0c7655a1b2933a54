"""Which of a plan's scenarios a session runs: all, those that `--winvm-scenario` names, those that failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.outcome import Scenario
    from harness.run.plan import Plan


def chosen(plan: Plan, words: Sequence[str]) -> tuple[Scenario, ...]:
    """The scenarios that the words name, in the plan's order; all without words.

    Raises:
        ConfigurationError: a word names no scenario.
    """
    from harness.run.choice import named

    return named(plan.scenarios, words, plan.elsewhere) if words else plan.scenarios


def labels(plan: Plan, named: Sequence[str]) -> list[str]:
    """The labels given, and what watches the driver: runs with the same are compared with each other."""
    from harness.project.profile import VERIFIER
    from harness.toolchain.instrument import instruments

    return [*named, *([VERIFIER] if plan.verifier else []), *sorted(instruments(plan.config))]


def failed_before(
    scenarios: Sequence[Scenario], plan: Plan, builds: Sequence[str], labels: Sequence[str]
) -> tuple[tuple[Scenario, ...], str]:
    """Those that did not pass when they last ran with these builds and labels, and a line that says so.

    Like pytest's `--last-failed`, all of them if there are none.

    Raises:
        HostError: the history cannot be read.
    """
    from harness.report.digest import BAD
    from harness.report.history import History, cell
    from harness.report.historyfile import FILE_NAME

    failed: set[str] = set()
    if (plan.config.artifacts_folder / FILE_NAME).exists():
        with History(plan.config.artifacts_folder) as history:
            newest = history.newest(cell(plan.profile.name, builds, labels))
        failed = {name for name, state in newest.items() if state.outcome in BAD}
    again = tuple(one for one in scenarios if one.name in failed)
    if not again:
        return tuple(scenarios), "winvm: nothing failed when it last ran, so every chosen scenario runs."
    return again, f"winvm: {len(again)} of {len(scenarios)} did not pass when they last ran."

"""What the history tells of a scenario or a crash: since when it is bad, when it was good, how long it takes.

Whole and partial runs of all kinds count: this is a record of what was seen, not a comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from harness.outcome import Outcome
from harness.report.digest import BAD
from harness.report.history import History, Sighting

STRIP = 50
"""Newest executions that are kept of a scenario."""


@dataclass(frozen=True)
class Seen:
    """One execution: `commit` as in `RunEntry`, `seconds` in the guest, 0 if it did not pass."""

    run: str
    commit: str
    outcome: str
    seconds: float


@dataclass(frozen=True)
class Durations:
    """Seconds in the guest of the passes that are kept."""

    last: float
    median: float
    shortest: float
    longest: float


@dataclass(frozen=True)
class ScenarioStory:
    """A scenario in one cell.

    Attributes:
        seen: its newest executions, oldest first, at most `STRIP`.
        times: all executions that the history has.
        first_bad: where the present row of bad outcomes began; None if it passes.
        last_good: the newest pass before `first_bad`, or of all; None if it never passed.
    """

    scenario: str
    cell: str
    seen: tuple[Seen, ...]
    times: int
    first_bad: Seen | None
    last_good: Seen | None
    durations: Durations | None


def of_scenario(history: History, scenario: str) -> list[ScenarioStory]:
    """Its story in each cell, the cell that ran last first; empty if it never ran."""
    rows = history.rows(
        "SELECT cell, run, git, outcome, guest_seconds FROM executions WHERE scenario = ?1"
        " ORDER BY started, run",
        scenario,
    )
    cells: dict[str, list[Seen]] = {}
    for cell, *row in rows:
        cells.setdefault(cell, []).append(Seen(*row))
    newest = sorted(cells, key=lambda cell: cells[cell][-1].run, reverse=True)
    return [told(scenario, cell, cells[cell]) for cell in newest]


def told(scenario: str, cell: str, seen: Sequence[Seen]) -> ScenarioStory:
    """The story of executions, oldest first."""
    good = [number for number, one in enumerate(seen) if one.outcome not in BAD]
    after = good[-1] + 1 if good else 0
    first_bad = seen[after] if after < len(seen) else None
    passes = [one.seconds for one in seen[-STRIP:] if one.outcome == Outcome.PASSED and one.seconds]
    durations = Durations(passes[-1], median(passes), min(passes), max(passes)) if passes else None
    last_good = seen[good[-1]] if good else None
    return ScenarioStory(scenario, cell, tuple(seen[-STRIP:]), len(seen), first_bad, last_good, durations)


def last_good_run(history: History, sighting: Sighting) -> Seen | None:
    """The newest run before a crash in which its scenario passed, in the same cell."""
    rows = history.rows(
        "SELECT run, git, outcome, guest_seconds FROM executions WHERE scenario = ?1 AND cell = ?2"
        " AND (started, run) < (?3, ?4) AND outcome = 'passed' ORDER BY started DESC, run DESC LIMIT 1",
        *(sighting.scenario, sighting.cell, sighting.started, sighting.run),
    )
    return Seen(*rows[0]) if rows else None


def last_good_commit(history: History, cell: str) -> Seen | None:
    """The newest whole run of a cell in which all passed, from a clean commit; None if there is none."""
    rows = history.rows(
        "SELECT run, git, 'passed', 0.0 FROM runs WHERE cell = ?1 AND NOT partial AND broke_off = ''"
        " AND git != '' AND git NOT LIKE '%+' AND counts LIKE '%\"passed\"%' AND NOT EXISTS"
        " (SELECT 1 FROM outcomes WHERE outcomes.run = runs.run"
        " AND outcome NOT IN ('passed', 'skipped', 'differs'))"
        " ORDER BY started DESC, run DESC LIMIT 1",
        cell,
    )
    return Seen(*rows[0]) if rows else None

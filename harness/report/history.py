"""history.sqlite of an artifacts folder: every run, its scenarios' outcomes, and its crashes.

Several runs may write at once. A damaged file fails no run: it is set aside, and a new one is made from the
runs that are still in the folder.
"""

from __future__ import annotations

import json
import re
import sqlite3
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from harness.errors import ConfigurationError
from harness.outcome import Outcome
from harness.report.digest import CrashGroup, Digest, digest
from harness.report.historyfile import FILE_NAME, connect, errors, transaction
from harness.report.news import CrashState, News, ScenarioState, State, is_flaky, news
from harness.report.recorded import RecordedRun
from harness.report.sources import called_now, parted
from harness.results import DRIVER_CODE
from harness.run.artifacts import RUN_NAME

WINDOW = 10
"""Newest runs of a scenario that decide whether it is flaky and how long it takes."""
KEPT_RUNS = 2000
"""Newest runs whose scenarios' outcomes are kept; runs and crashes are kept for ever."""
REFILLED_RUNS = 100
"""Newest run folders that a new file is made from."""


def cell(guest: str, builds: Iterable[str] = (), labels: Iterable[str] = ()) -> str:
    """The group of runs that a run is compared with: same guest, same builds asked for, same labels."""
    return "/".join((guest, *builds, *sorted(set(labels))))


@dataclass(frozen=True)
class RunEntry:
    """One run; `counts` are its scenarios by outcome."""

    run: str
    cell: str
    guest: str
    started: float
    seconds: float
    broke_off: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Sighting:
    """A crash signature in one run, scenario and driver build.

    Attributes:
        driver: digest of the driver's code and data (of the whole file in older runs); empty if the run did
            not record it.
        evidence: `what`, `likely_cause`, `stack` (lines), and `folder` and `bundle`, both relative to the
            artifacts folder.
    """

    run: str
    cell: str
    started: float
    signature: str
    scenario: str
    build: str
    driver: str
    times: int
    expected: int
    evidence: Mapping[str, Any]


class History:
    """An open history; a context manager. All methods raise `HostError` when the file cannot be used.

    Args:
        artifacts: the artifacts folder; the file is made if there is none, from the runs in the folder.

    Attributes:
        set_aside: where a damaged file was moved, None if there was none.
    """

    def __init__(self, artifacts: Path) -> None:
        self._folder = artifacts
        self.path = artifacts / FILE_NAME
        self._db, self.set_aside = connect(artifacts, self._fill)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def record(self, run: Digest) -> None:
        """Adds a run, or replaces its earlier entry."""
        with errors(self.path), transaction(self._db):
            _record(self._db, run)

    def runs(self, last: int, cell: str | None = None) -> list[RunEntry]:
        """The newest runs, newest first: of one cell, or of all cells."""
        found = self._rows(
            "SELECT run, cell, guest, started, seconds, broke_off, counts FROM runs"
            " WHERE ?1 IS NULL OR cell = ?1 ORDER BY started DESC, run DESC LIMIT ?2",
            cell,
            last,
        )
        return [RunEntry(*(*row[:-1], json.loads(row[-1]))) for row in found]

    def sightings(self, signature: str | None = None) -> list[Sighting]:
        """Crashes, oldest first: all, or those of one signature, also if recorded without its source."""
        found = self._rows(
            "SELECT run, cell, started, signature, scenario, build, driver, times, expected, evidence"
            " FROM sightings WHERE ?1 IS NULL OR signature = ?1 OR (signature = ?2 AND source = ?3)"
            " ORDER BY started, run, scenario",
            signature,
            *parted(signature or ""),
        )
        return [Sighting(*(*row[:-1], json.loads(row[-1]))) for row in found]

    def news(self, run: str) -> News:
        """What changed in a run, compared with all earlier runs of its cell.

        Raises:
            ConfigurationError: there is no such run; `before` and `after` do so, too.
        """
        return news(self.before(run), self.after(run))

    def previous(self, run: str) -> str:
        """The last run of the same cell before this one that has results; empty if there is none."""
        found = self._rows(
            "SELECT run FROM runs WHERE cell = ?1 AND (started, run) < (?2, ?3) AND counts != '{}'"
            " ORDER BY started DESC, run DESC LIMIT 1",
            *self._when(run),
        )
        return str(found[0][0]) if found else ""

    def before(self, run: str) -> State:
        """The state of the run's cell before it; crashes are named by the signatures that the run uses."""
        when = self._when(run)
        last_run = dict(
            self._rows(
                "SELECT scenario, MAX(started) FROM executions"
                " WHERE cell = ?1 AND (started, run) < (?2, ?3) GROUP BY scenario",
                *when,
            )
        )
        hits = self._rows(
            "SELECT signature, source, scenario, MAX(started) FROM sightings"
            " WHERE times > expected AND cell = ?1 AND (started, run) < (?2, ?3)"
            " GROUP BY signature, source, scenario",
            *when,
        )
        current = self._rows("SELECT DISTINCT signature, source FROM crashes WHERE run = ?1", run)
        now = [(str(signature), str(source)) for signature, source in current]
        crashes: dict[str, CrashState] = {}
        for past, source, scenario, seen in hits:
            for signature in called_now((past, source), now):
                known = crashes.get(signature, CrashState(frozenset(), open=False))
                is_open = known.open or seen >= last_run.get(scenario, 0.0)
                crashes[signature] = CrashState(known.scenarios | {scenario}, is_open)
        return State(self._scenarios(*when), crashes)

    def newest(self, cell: str) -> Mapping[str, ScenarioState]:
        """Every scenario of a cell, as its newest run left it."""
        return self._scenarios(cell, sys.float_info.max, "")

    def after(self, run: str) -> State:
        """The state after the run. Earlier runs count for whether a scenario is flaky."""
        known = self._scenarios(*self._when(run), with_it=True)
        scenarios = {
            name: ScenarioState(Outcome(outcome), seconds, known[name].flaky)
            for name, outcome, seconds in self._rows(
                "SELECT scenario, outcome, guest_seconds FROM executions WHERE run = ?1", run
            )
        }
        crashes: dict[str, CrashState] = {}
        for signature, scenario in self._rows(
            "SELECT signature, scenario FROM crashes WHERE run = ?1 AND times > expected", run
        ):
            seen = crashes.get(signature, CrashState(frozenset()))
            crashes[signature] = CrashState(seen.scenarios | {scenario})
        return State(scenarios, crashes)

    def _when(self, run: str) -> tuple[str, float, str]:
        found = self._rows("SELECT cell, started FROM runs WHERE run = ?1", run)
        if not found:
            raise ConfigurationError(
                f"The history {self.path} has no run {run!r}.", remedy="List them with `winvm history`."
            )
        return found[0][0], found[0][1], run

    def _scenarios(
        self, cell: str, started: float, run: str, *, with_it: bool = False
    ) -> dict[str, ScenarioState]:
        """State of every scenario in the cell before a run, or with it."""
        by_name: dict[str, list[Any]] = {}
        for name, *row in self._rows(
            "SELECT scenario, outcome, times, bad, guest_seconds, driver FROM ("
            "SELECT *, ROW_NUMBER() OVER (PARTITION BY scenario ORDER BY started DESC, run DESC) AS place"
            " FROM executions WHERE cell = ?1 AND ((started, run) < (?2, ?3) OR (?4 AND run = ?3))"
            ") WHERE place <= ?5 ORDER BY scenario, place DESC",
            *(cell, started, run, with_it, WINDOW),
        ):
            by_name.setdefault(name, []).append(row)
        return {name: _state(rows) for name, rows in by_name.items()}

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with errors(self.path):
            return self._db.execute(query, values).fetchall()

    def _fill(self, db: sqlite3.Connection) -> None:
        runs = sorted(path.parent for path in self._folder.glob("*/results.json"))
        for folder in [run for run in runs if re.fullmatch(RUN_NAME, run.name)][-REFILLED_RUNS:]:
            with suppress(ConfigurationError):  # the run is of an older schema
                _record(db, digest(RecordedRun(folder)))


def _record(db: sqlite3.Connection, run: Digest) -> None:
    record = run.record
    for table in ("crashes", "outcomes", "runs"):
        db.execute(f"DELETE FROM {table} WHERE run = ?", (record.run,))  # noqa: S608
    counts = json.dumps({outcome: count for outcome in Outcome if (count := run.count(outcome))})
    entry = (record.run, record.cell or record.guest, record.guest, record.started, record.seconds)
    environment = json.dumps(dict(record.environment))
    db.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*entry, record.broke_off, counts, environment)
    )
    for row in run.rows.values():
        driver = _driver(record.environment, row.build)
        outcome = (record.run, row.name, row.outcome, row.times, row.bad, row.guest_seconds, driver)
        db.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)", outcome)
    for group in run.crashes.values():
        for (scenario, build), (times, expected) in group.scenarios.items():
            evidence = json.dumps(_evidence(run, group, scenario))
            driver = _driver(record.environment, build)
            source = group.sources.get((scenario, build), "")
            crash = (record.run, group.signature, scenario, build, driver, times, expected, evidence, source)
            db.execute("INSERT INTO crashes VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", crash)
    db.execute(
        "DELETE FROM outcomes WHERE run IN (SELECT run FROM runs ORDER BY started DESC LIMIT -1 OFFSET ?)",
        (KEPT_RUNS,),
    )


def _driver(environment: Mapping[str, str], build: str) -> str:
    """The digest by which two runs of a driver build are compared: signing the same build again keeps it."""
    return environment.get(f"{DRIVER_CODE} {build}") or environment.get(f"driver {build}", "")


def _evidence(run: Digest, group: CrashGroup, scenario: str) -> dict[str, Any]:
    mine = [number for number, crash in enumerate(group.first) if crash.scenario == scenario]
    first = (mine or [0])[0]
    folder, bundle = group.folders[first], group.first[first].bundle
    return {
        "what": group.what,
        "likely_cause": group.likely_cause,
        "stack": [
            " ".join(filter(None, (call.where, call.function, call.source, "?" if call.guess else "")))
            for call in group.stack
        ],
        "folder": f"{run.folder.name}/crashes/{folder.name}" if folder else "",
        "bundle": f"{run.folder.name}/{bundle}" if bundle else "",
    }


def _state(rows: list[Any]) -> ScenarioState:
    """A scenario's state from rows of (outcome, times, bad, guest_seconds, driver), oldest first."""
    passes = [seconds for outcome, _, _, seconds, _ in rows if outcome == Outcome.PASSED and seconds]
    flaky = is_flaky([(times > bad, bad > 0, driver) for _, times, bad, _, driver in rows])
    return ScenarioState(Outcome(rows[-1][0]), median(passes[-5:]) if passes else 0.0, flaky)

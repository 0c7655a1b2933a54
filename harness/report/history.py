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
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from harness.errors import ConfigurationError
from harness.outcome import Outcome
from harness.report.digest import CrashGroup, Digest, digest
from harness.report.historyfile import FILE_NAME, SUBFOLDERS, connect, errors, transaction
from harness.report.news import CrashState, News, ScenarioState, State, is_flaky, news
from harness.report.recorded import RecordedRun
from harness.report.sources import called_now, parted
from harness.results import DRIVER_CODE
from harness.run.artifacts import RUN_NAME
from harness.run.origin import COMMIT, DIRTY

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
    """One run; `counts` are its scenarios by outcome, `kind` is `run`, `smoke` or `night`."""

    run: str
    cell: str
    guest: str
    started: float
    seconds: float
    broke_off: str
    counts: Mapping[str, int]
    environment: Mapping[str, str]
    kind: str = "run"
    partial: bool = False

    @property
    def commit(self) -> str:
        """The git commit of the project; with `+` where its work tree differed, empty if unknown."""
        return _commit(self.environment)


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
    git: str = ""


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
            _record(self._db, run, self._folder)

    def runs(
        self,
        last: int,
        cell: str | None = None,
        kind: str | None = None,
        guest: str | None = None,
        build: str | None = None,
    ) -> list[RunEntry]:
        """The newest runs, newest first: of one cell, kind, guest or driver build, or all."""
        found = self.rows(
            "SELECT run, cell, guest, started, seconds, broke_off, counts, environment, kind, partial"
            " FROM runs"
            " WHERE (?1 IS NULL OR cell = ?1) AND (?2 IS NULL OR kind = ?2) AND (?3 IS NULL OR guest = ?3)"
            " AND (?4 IS NULL OR environment LIKE ?4 ESCAPE '!') ORDER BY started DESC, run DESC LIMIT ?5",
            *(cell, kind, guest, f'%"driver {_literal(build)}":%' if build else None, last),
        )
        return [
            RunEntry(*(*row[:6], json.loads(row[6]), json.loads(row[7]), row[8], bool(row[9])))
            for row in found
        ]

    def sightings(self, signature: str | None = None) -> list[Sighting]:
        """Crashes, oldest first: all, or those of one signature, also if recorded without its source."""
        found = self.rows(
            "SELECT run, cell, started, signature, scenario, build, driver, times, expected, evidence, git"
            " FROM sightings WHERE ?1 IS NULL OR signature = ?1 OR (signature = ?2 AND source = ?3)"
            " ORDER BY started, run, scenario",
            signature,
            *parted(signature or ""),
        )
        return [Sighting(*(*row[:9], json.loads(row[9]), row[10])) for row in found]

    def news(self, run: str) -> News:
        """What changed in a run, compared with all earlier whole runs of its cell and kind.

        A partial run mends nothing: a scenario that passes alone may still fail in the run of all.

        Raises:
            ConfigurationError: there is no such run; `before` and `after` do so, too.
        """
        found = news(self.before(run), self.after(run))
        partial = self.rows("SELECT partial FROM runs WHERE run = ?1", run)[0][0]
        return replace(found, fixed=(), fixed_crashes=()) if partial else found

    def previous(self, run: str) -> str:
        """The last run of the same cell before this one that has results; empty if there is none."""
        found = self.rows(
            "SELECT run FROM runs WHERE cell = ?1 AND (started, run) < (?2, ?3) AND counts != '{}'"
            " AND kind = ?4 AND NOT partial"
            " ORDER BY started DESC, run DESC LIMIT 1",
            *self._when(run),
        )
        return str(found[0][0]) if found else ""

    def before(self, run: str) -> State:
        """The state of the run's cell before it; crashes are named by the signatures that the run uses."""
        when = self._when(run)
        last_run = dict(
            self.rows(
                "SELECT scenario, MAX(started) FROM executions"
                " WHERE cell = ?1 AND (started, run) < (?2, ?3) AND kind = ?4 AND NOT partial"
                " GROUP BY scenario",
                *when,
            )
        )
        hits = self.rows(
            "SELECT signature, source, scenario, MAX(started) FROM sightings"
            " WHERE times > expected AND cell = ?1 AND (started, run) < (?2, ?3)"
            " AND kind = ?4 AND NOT partial"
            " GROUP BY signature, source, scenario",
            *when,
        )
        current = self.rows("SELECT DISTINCT signature, source FROM crashes WHERE run = ?1", run)
        now = [(str(signature), str(source)) for signature, source in current]
        crashes: dict[str, CrashState] = {}
        for past, source, scenario, seen in hits:
            for signature in called_now((past, source), now):
                known = crashes.get(signature, CrashState(frozenset(), open=False))
                is_open = known.open or seen >= last_run.get(scenario, 0.0)
                crashes[signature] = CrashState(known.scenarios | {scenario}, is_open)
        return State(self._scenarios(*when), crashes)

    def newest(self, cell: str) -> Mapping[str, ScenarioState]:
        """Every scenario of a cell, as its newest run left it, partial ones and smoke too."""
        return self._scenarios(cell, sys.float_info.max, "", None)

    def after(self, run: str) -> State:
        """The state after the run. Earlier runs count for whether a scenario is flaky."""
        known = self._scenarios(*self._when(run), with_it=True)
        scenarios = {
            name: ScenarioState(Outcome(outcome), seconds, known[name].flaky)
            for name, outcome, seconds in self.rows(
                "SELECT scenario, outcome, guest_seconds FROM executions WHERE run = ?1", run
            )
        }
        crashes: dict[str, CrashState] = {}
        for signature, scenario in self.rows(
            "SELECT signature, scenario FROM crashes WHERE run = ?1 AND times > expected", run
        ):
            seen = crashes.get(signature, CrashState(frozenset()))
            crashes[signature] = CrashState(seen.scenarios | {scenario})
        return State(scenarios, crashes)

    def _when(self, run: str) -> tuple[str, float, str, str]:
        """Cell, start, id and kind of a run: what the runs before it are found by."""
        found = self.rows("SELECT cell, started, kind FROM runs WHERE run = ?1", run)
        if not found:
            raise ConfigurationError(
                f"The history {self.path} has no run {run!r}.", remedy="List them with `winvm history`."
            )
        return found[0][0], found[0][1], run, found[0][2]

    def _scenarios(
        self, cell: str, started: float, run: str, kind: str | None, *, with_it: bool = False
    ) -> dict[str, ScenarioState]:
        """State of every scenario in the cell before a run, or with it.

        Of whole runs of one kind; without `kind`, of all kinds, partial runs too.
        """
        by_name: dict[str, list[Any]] = {}
        for name, *row in self.rows(
            "SELECT scenario, outcome, times, bad, guest_seconds, driver, git FROM ("
            "SELECT *, ROW_NUMBER() OVER (PARTITION BY scenario ORDER BY started DESC, run DESC) AS place"
            " FROM executions WHERE cell = ?1 AND ((started, run) < (?2, ?3)"
            " AND (?6 IS NULL OR (kind = ?6 AND NOT partial)) OR (?4 AND run = ?3))"
            ") WHERE place <= ?5 ORDER BY scenario, place DESC",
            *(cell, started, run, with_it, WINDOW, kind),
        ):
            by_name.setdefault(name, []).append(row)
        return {name: _state(rows) for name, rows in by_name.items()}

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query: for `report.story` and `report.site`, which ask more of the tables."""
        with errors(self.path):
            return self._db.execute(query, values).fetchall()

    def _fill(self, db: sqlite3.Connection) -> None:
        places = ("", *(f"{folder}/" for folder in SUBFOLDERS.values()))
        runs = [path.parent for place in places for path in self._folder.glob(f"{place}*/results.json")]
        runs.sort(key=lambda run: run.name)
        for folder in [run for run in runs if re.fullmatch(RUN_NAME, run.name)][-REFILLED_RUNS:]:
            with suppress(ConfigurationError):  # the run is of an older schema
                _record(db, digest(RecordedRun(folder)), self._folder)


def _record(db: sqlite3.Connection, run: Digest, artifacts: Path) -> None:
    record = run.record
    for table in ("crashes", "outcomes", "runs"):
        db.execute(f"DELETE FROM {table} WHERE run = ?", (record.run,))  # noqa: S608
    counts = json.dumps({outcome: count for outcome in Outcome if (count := run.count(outcome))})
    entry = (record.run, record.cell or record.guest, record.guest, record.started, record.seconds)
    environment = json.dumps(dict(record.environment))
    place = _place(run.folder, artifacts)
    above = {folder: kind for kind, folder in SUBFOLDERS.items()}
    kind = above.get(place.split("/")[0], record.source)
    partial = record.partial or kind == "smoke"
    db.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*entry, record.broke_off, counts, environment, kind, partial, _commit(record.environment)),
    )
    for row in run.rows.values():
        driver = _driver(record.environment, row.build)
        outcome = (record.run, row.name, row.outcome, row.times, row.bad, row.guest_seconds, driver)
        db.execute("INSERT INTO outcomes VALUES (?, ?, ?, ?, ?, ?, ?)", outcome)
    for group in run.crashes.values():
        for (scenario, build), (times, expected) in group.scenarios.items():
            evidence = json.dumps(_evidence(group, scenario, place))
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


def _literal(text: str) -> str:
    """A text as LIKE matches it, within JSON."""
    return re.sub(r"[%_!]", r"!\g<0>", json.dumps(text)[1:-1])


def _commit(environment: Mapping[str, str]) -> str:
    commit = environment.get(COMMIT, "")
    return f"{commit}+" if commit and environment.get(DIRTY) else commit


def _place(run: Path, artifacts: Path) -> str:
    """A run's folder, relative to the artifacts folder: `ID`, `nightly/ID` or `smoke/ID`."""
    run, artifacts = run.resolve(), artifacts.resolve()
    return run.relative_to(artifacts).as_posix() if run.is_relative_to(artifacts) else run.name


def _evidence(group: CrashGroup, scenario: str, place: str) -> dict[str, Any]:
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
        "folder": f"{place}/crashes/{folder.name}" if folder else "",
        "bundle": f"{place}/{bundle}" if bundle else "",
    }


def _state(rows: list[Any]) -> ScenarioState:
    """A scenario's state from rows of (outcome, times, bad, guest_seconds, driver, git), oldest first.

    Rebuilds of one clean commit count as one driver, whatever their digests: compilers and dates differ.
    """
    passes = [seconds for outcome, _, _, seconds, *_ in rows if outcome == Outcome.PASSED and seconds]
    *_, newest, commit = rows[-1]
    clean = commit and not commit.endswith("+")
    flaky = is_flaky(
        [
            (times > bad, bad > 0, newest if clean and git == commit else driver)
            for _, times, bad, _, driver, git in rows
        ]
    )
    return ScenarioState(Outcome(rows[-1][0]), median(passes[-5:]) if passes else 0.0, flaky)

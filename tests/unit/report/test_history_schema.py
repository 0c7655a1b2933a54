"""A history of schema 1 is taken over: what was known stays known, whatever its signatures look like now."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from harness.outcome import Outcome, ScenarioResult
from harness.report.digest import digest
from harness.report.history import History
from harness.report.historyfile import FILE_NAME, SCHEMA
from harness.report.news import News
from harness.report.recorded import RecordedRun
from harness.report.sources import same_crash, source_of_stack
from tests.fakes.recorded_runs import STARTED, crash, result, write_run

SCHEMA_1 = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, cell TEXT NOT NULL, guest TEXT NOT NULL, started REAL NOT NULL,
    seconds REAL NOT NULL, broke_off TEXT NOT NULL, counts TEXT NOT NULL, environment TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_by_cell ON runs (cell, started);
CREATE TABLE outcomes (
    run TEXT NOT NULL, scenario TEXT NOT NULL, outcome TEXT NOT NULL, times INTEGER NOT NULL,
    bad INTEGER NOT NULL, guest_seconds REAL NOT NULL, driver TEXT NOT NULL, PRIMARY KEY (run, scenario)
) WITHOUT ROWID;
CREATE TABLE crashes (
    run TEXT NOT NULL, signature TEXT NOT NULL, scenario TEXT NOT NULL, build TEXT NOT NULL,
    driver TEXT NOT NULL, times INTEGER NOT NULL, expected INTEGER NOT NULL, evidence TEXT NOT NULL,
    PRIMARY KEY (run, signature, scenario, build)
) WITHOUT ROWID;
CREATE INDEX crashes_by_signature ON crashes (signature);
CREATE VIEW executions AS SELECT * FROM outcomes JOIN runs USING (run) WHERE outcome != 'skipped';
CREATE VIEW sightings AS SELECT * FROM crashes JOIN runs USING (run);
PRAGMA user_version = 1
"""
OLD_RUN, NEW_RUN = "20261121-000000-000000", "20261121-010000-000001"
PLAIN = "c0000005-winvm.sys-NullWrite"
STACK = [
    "winvm.sys+0x283f NullWrite driver/src/fault.c:60",
    "winvm.sys+0x14a6 WinvmDispatch driver/src/driver.c:145",
]


def old_history(artifacts: Path, scenarios: tuple[str, ...], signature: str = PLAIN) -> None:
    """history.sqlite as schema 1 held one run in which these scenarios crashed so."""
    artifacts.mkdir()
    db = sqlite3.connect(artifacts / FILE_NAME)
    db.executescript(SCHEMA_1)
    db.execute(
        "INSERT INTO runs VALUES (?, 'wine', 'wine', ?, 1.0, '', '{\"crashed\": 1}', '{}')",
        (OLD_RUN, STARTED),
    )
    evidence = json.dumps({"what": "", "likely_cause": "", "stack": STACK, "folder": "", "bundle": ""})
    for scenario in scenarios:
        db.execute("INSERT INTO outcomes VALUES (?, ?, 'crashed', 1, 1, 0, '')", (OLD_RUN, scenario))
        row = (OLD_RUN, signature, scenario, evidence)
        db.execute("INSERT INTO crashes VALUES (?, ?, ?, 'release', '', 1, 0, ?)", row)
    db.commit()
    db.close()


def new_run(artifacts: Path, scenario: str, signature: str) -> News:
    """Records a run of today, an hour later, in which the scenario crashes; what is new in it."""
    folder = artifacts / NEW_RUN / "crashes" / f"01-{scenario}"
    found: ScenarioResult = result(
        scenario, Outcome.CRASHED, crash=crash(folder, scenario, signature, bundle="")
    )
    path = write_run(artifacts, NEW_RUN, [found], started=STARTED + 3600)
    with History(artifacts) as history:
        history.record(digest(RecordedRun(path)))
        return history.news(NEW_RUN)


def test_a_known_crash_is_not_new_because_its_signature_names_the_source_now(tmp_path: Path) -> None:
    old_history(tmp_path / "a", ("fault.null_write",))
    found = new_run(tmp_path / "a", "fault.null_write", f"{PLAIN}-fault.c")
    assert (found.crashes, found.known_crashes, found.fixed_crashes) == ((), (f"{PLAIN}-fault.c",), ())


def test_a_signature_that_stays_as_it_is_stays_known(tmp_path: Path) -> None:
    old_history(tmp_path / "a", ("fault.null_write",))
    assert new_run(tmp_path / "a", "fault.null_write", PLAIN).known_crashes == (PLAIN,)


def test_a_crash_in_another_source_is_new(tmp_path: Path) -> None:
    signature = PLAIN.replace("NullWrite", "Other")
    old_history(tmp_path / "a", ("fault.null_write",), signature)
    assert new_run(tmp_path / "a", "fault.null_write", PLAIN).crashes == (PLAIN,)
    with sqlite3.connect(tmp_path / "a" / FILE_NAME) as db:
        db.execute("UPDATE crashes SET signature = ?, source = 'async.c' WHERE run = ?", (PLAIN, OLD_RUN))
        db.execute("UPDATE crashes SET signature = ? WHERE run = ?", (f"{PLAIN}-fault.c", NEW_RUN))
    with History(tmp_path / "a") as history:
        assert history.news(NEW_RUN).crashes == (f"{PLAIN}-fault.c",)


def test_a_group_of_several_scenarios_may_be_any_of_its_name(tmp_path: Path) -> None:
    """Schema 1 kept one stack for all of them: which of the crashes it is of cannot be told."""
    old_history(tmp_path / "a", ("async.read", "fault.null_write"))
    found = new_run(tmp_path / "a", "async.read", f"{PLAIN}-async.c")
    assert (found.crashes, found.known_crashes) == ((), (f"{PLAIN}-async.c",))


def test_the_migrated_file_keeps_its_rows_and_says_its_schema(tmp_path: Path) -> None:
    old_history(tmp_path / "a", ("fault.null_write",))
    with History(tmp_path / "a") as history:
        assert history.set_aside is None
        assert [run.run for run in history.runs(10)] == [OLD_RUN]
        assert [one.signature for one in history.sightings(f"{PLAIN}-fault.c")] == [PLAIN]
        assert history.sightings(f"{PLAIN}-async.c") == []
    with sqlite3.connect(tmp_path / "a" / FILE_NAME) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA,)
        assert db.execute("SELECT source FROM crashes").fetchall() == [("fault.c",)]


@pytest.mark.parametrize(
    ("signature", "stack", "source"),
    [
        (PLAIN, STACK, "fault.c"),
        ("c0000005-winvm.sys-WinvmDispatch", STACK, "driver.c"),
        ("c0000005-winvm.sys", STACK, ""),
        ("c0000005-winvm.sys-Gone", STACK, ""),
        (PLAIN, [], ""),
        (PLAIN, ["winvm.sys+0x1 NullWrite C:/my drivers/fault.c:3"], "fault.c"),
    ],
)
def test_the_source_is_taken_from_the_stack(signature: str, stack: list[str], source: str) -> None:
    assert source_of_stack(signature, stack) == source


def test_crashes_are_the_same_by_name_and_source() -> None:
    own = (f"{PLAIN}-fault.c", "fault.c")
    assert same_crash((PLAIN, "fault.c"), own)
    assert same_crash(own, (PLAIN, "fault.c")), "the other function of that name was removed"
    assert same_crash((PLAIN, ""), own)
    assert not same_crash((PLAIN, "async.c"), own)
    assert not same_crash(("c0000005-winvm.sys-Read", "fault.c"), own)

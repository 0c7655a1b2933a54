"""The SQLite file of the history: tables, concurrent opening, older schemas, replacing a damaged file.

One file, in a project's artifacts folder, holds runs, smoke runs and nights: see `history_folder`.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from harness.errors import HostError
from harness.host import locks
from harness.report.sources import source_of_stack

FILE_NAME = "history.sqlite"
SCHEMA = 3
"""Version of the tables. In schema 1, crashes had no `source`. In schema 2, runs had no `kind`, `partial`
and `git`, smoke runs were not kept, and nights had a history of their own."""
SUBFOLDERS = {"night": "nightly", "smoke": "smoke"}
"""Kind of run -> the folder below the artifacts folder that has such runs."""
BUSY_S = 20.0
"""Seconds a run waits for another one that writes."""
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_TABLES = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, cell TEXT NOT NULL, guest TEXT NOT NULL, started REAL NOT NULL,
    seconds REAL NOT NULL, broke_off TEXT NOT NULL, counts TEXT NOT NULL, environment TEXT NOT NULL,
    kind TEXT NOT NULL DEFAULT 'run', partial INTEGER NOT NULL DEFAULT 0, git TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX runs_by_cell ON runs (cell, started);
CREATE TABLE outcomes (
    run TEXT NOT NULL, scenario TEXT NOT NULL, outcome TEXT NOT NULL, times INTEGER NOT NULL,
    bad INTEGER NOT NULL, guest_seconds REAL NOT NULL, driver TEXT NOT NULL, PRIMARY KEY (run, scenario)
) WITHOUT ROWID;
CREATE TABLE crashes (
    run TEXT NOT NULL, signature TEXT NOT NULL, scenario TEXT NOT NULL, build TEXT NOT NULL,
    driver TEXT NOT NULL, times INTEGER NOT NULL, expected INTEGER NOT NULL, evidence TEXT NOT NULL,
    source TEXT NOT NULL DEFAULT '', PRIMARY KEY (run, signature, scenario, build)
) WITHOUT ROWID;
CREATE INDEX crashes_by_signature ON crashes (signature);
CREATE INDEX outcomes_by_scenario ON outcomes (scenario)
"""
_VIEWS = """
DROP VIEW IF EXISTS executions;
DROP VIEW IF EXISTS sightings;
CREATE VIEW executions AS SELECT * FROM outcomes JOIN runs USING (run) WHERE outcome != 'skipped';
CREATE VIEW sightings AS SELECT * FROM crashes JOIN runs USING (run)
"""
_ORIGINS = """
ALTER TABLE runs ADD COLUMN kind TEXT NOT NULL DEFAULT 'run';
ALTER TABLE runs ADD COLUMN partial INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN git TEXT NOT NULL DEFAULT '';
CREATE INDEX IF NOT EXISTS outcomes_by_scenario ON outcomes (scenario)
"""


class Refusal(sqlite3.Error):
    """The file is of a newer schema."""


def connect(
    artifacts: Path, fill: Callable[[sqlite3.Connection], None]
) -> tuple[sqlite3.Connection, Path | None]:
    """Opens the history of an artifacts folder; makes a new one if there is none or it is damaged.

    Args:
        fill: fills new tables from the runs in the folder; called in one process only.

    Returns:
        The connection, in autocommit mode, and where a damaged file was moved.

    Raises:
        HostError: the file cannot be opened.
    """
    path = artifacts / FILE_NAME
    with errors(path):
        try:
            return _open(path, fill), None
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
            moved = _put_aside(path, fill)
            return _open(path, fill), moved


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Writes everything in the block or nothing; other writing processes wait."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        with suppress(sqlite3.Error):  # a full disk has rolled back already
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


@contextmanager
def errors(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into `HostError` with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        remedy = "Free disk space, and make the folder writable."
        if _is_damage(error):
            remedy = "The next run moves it aside and makes a new one from the runs in that folder."
        if isinstance(error, Refusal):
            remedy = "Use the newer winvm that wrote it, or move the file away."
        raise HostError(f"The history {path} cannot be used: {error}.", remedy=remedy) from error


def _use_write_ahead_log(db: sqlite3.Connection) -> None:
    """Lets readers go on while a run writes. SQLite's busy time-out does not apply to this statement."""
    try:
        db.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise  # busy: another process is about to do the same


def _open(path: Path, fill: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    try:
        if _version(db) < SCHEMA:
            _use_write_ahead_log(db)
            with transaction(db):
                version = _version(db)
                if version == 0:  # no other process made it meanwhile
                    _execute(db, _TABLES + ";" + _VIEWS)
                    fill(db)
                if version == 1:
                    _add_sources(db)
                if version in (1, 2):
                    _execute(db, _ORIGINS + ";" + _VIEWS)
                if version < SCHEMA and path.parent.name != SUBFOLDERS["night"]:
                    _take_over_nights(db, path.parent)
                db.execute(f"PRAGMA user_version = {SCHEMA}")
    except BaseException:
        db.close()
        raise
    return db


def history_folder(artifacts: Path, kind: str) -> Path:
    """The folder whose history has the runs of this kind in `artifacts`: for a night's, the one above."""
    return artifacts.parent if artifacts.name == SUBFOLDERS.get(kind) else artifacts


def _execute(db: sqlite3.Connection, statements: str) -> None:
    """As `executescript`, which would end the transaction."""
    for statement in statements.split(";"):
        db.execute(statement)


def _take_over_nights(db: sqlite3.Connection, artifacts: Path) -> None:
    """Copies the history that nights had of their own up to schema 2; that file is left as it is."""
    folder = SUBFOLDERS["night"]
    path = artifacts / folder / FILE_NAME
    if not path.is_file():
        return
    try:
        nights = _open(path, lambda _: None)
    except sqlite3.Error:
        return  # damaged, or of a newer winvm: what can be read is in the runs' folders
    try:
        for row in nights.execute("SELECT * FROM runs"):
            db.execute(f"INSERT OR IGNORE INTO runs VALUES ({_marks(row)})", row)  # noqa: S608
            db.execute("UPDATE runs SET kind = 'night' WHERE run = ?", row[:1])
        for row in nights.execute("SELECT * FROM outcomes"):
            db.execute(f"INSERT OR IGNORE INTO outcomes VALUES ({_marks(row)})", row)  # noqa: S608
        for row in nights.execute("SELECT * FROM crashes"):
            evidence = json.loads(row[7])
            for place in ("folder", "bundle"):
                evidence[place] = f"{folder}/{evidence[place]}" if evidence.get(place) else ""
            moved = (*row[:7], json.dumps(evidence), *row[8:])
            db.execute(f"INSERT OR IGNORE INTO crashes VALUES ({_marks(moved)})", moved)  # noqa: S608
    finally:
        nights.close()


def _marks(row: tuple[object, ...]) -> str:
    return ", ".join("?" * len(row))


def _add_sources(db: sqlite3.Connection) -> None:
    """From schema 1, in which crashes in functions of one name shared a signature: adds the source of each.

    The source is taken from the recorded stack. A run kept one stack per signature; where several scenarios
    share it, the source stays unknown.
    """
    db.execute("ALTER TABLE crashes ADD COLUMN source TEXT NOT NULL DEFAULT ''")
    alone = db.execute(
        "SELECT run, signature, MIN(evidence) FROM crashes GROUP BY run, signature"
        " HAVING COUNT(DISTINCT scenario) = 1"
    ).fetchall()
    for run, signature, evidence in alone:
        source = source_of_stack(signature, json.loads(evidence).get("stack", []))
        db.execute("UPDATE crashes SET source = ? WHERE run = ? AND signature = ?", (source, run, signature))


def _version(db: sqlite3.Connection) -> int:
    version = int(db.execute("PRAGMA user_version").fetchone()[0])
    if version > SCHEMA:
        raise Refusal(f"it has schema {version}, and this winvm knows {SCHEMA}")
    return version


def _put_aside(path: Path, fill: Callable[[sqlite3.Connection], None]) -> Path | None:
    """Moves a damaged file away, under a lock: another process may be doing the same."""
    with locks.hold(path.parent):
        try:
            _open(path, fill).close()
        except sqlite3.Error as error:
            if not _is_damage(error):
                raise
        else:
            return None
        name = f"{FILE_NAME}.damaged-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(FILE_NAME + suffix).rename(path.with_name(name + suffix))
        return path.with_name(name)


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED

"""One history for runs, smoke runs and nights: what each kind, and a partial run, changes in it."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest

from harness.outcome import Outcome, ScenarioResult
from harness.report.digest import digest
from harness.report.history import History
from harness.report.historyfile import FILE_NAME, SCHEMA, history_folder
from harness.report.news import News
from harness.report.recorded import RecordedRun
from harness.report.story import last_good_commit, of_scenario
from harness.run.origin import COMMIT, DIRTY, NIGHT
from tests.fakes.recorded_runs import DRIVER, STARTED, crash, result, write_run
from tests.unit.report.test_history import Nights, ask, nights, project
from tests.unit.report.test_history_schema import NEW_RUN, OLD_RUN, PLAIN, SCHEMA_1, STACK

__all__ = ["nights", "project"]
PASSED, FAILED = Outcome.PASSED, Outcome.FAILED
SCHEMA_2 = SCHEMA_1.replace(
    "    PRIMARY KEY (run, signature", "    source TEXT NOT NULL DEFAULT '', PRIMARY KEY (run, signature"
).replace("user_version = 1", "user_version = 2")


def at(commit: str, **more: str) -> dict[str, str]:
    return {**DRIVER, COMMIT: commit * 40, **more}


def test_a_partial_run_mends_nothing_and_leaves_nothing(nights: Nights) -> None:
    nights.add(result("a.one", FAILED), result("a.two"))
    assert nights.add(result("a.one"), partial=True) == News()
    assert nights.add(result("a.two", FAILED), partial=True) == News(failing=("a.two",))
    other = {"driver release": "another"}
    assert nights.add(result("a.one", FAILED), result("a.two", FAILED), environment=other) == News(
        failing=("a.two",), still_failing=("a.one",)
    )
    assert nights.add(result("a.one"), result("a.two"), environment={"driver release": "third"}) == News(
        fixed=("a.one", "a.two")
    )


def test_a_partial_run_does_not_end_a_crash(nights: Nights) -> None:
    nights.add(nights.crashing("a.one", "s-1"))
    assert nights.add(result("a.one"), partial=True) == News()
    assert nights.add(nights.crashing("a.one", "s-1")).known_crashes == ("s-1",)


def test_what_failed_last_is_known_from_partial_runs_too(nights: Nights) -> None:
    nights.add(result("a.one", FAILED), result("a.two", FAILED))
    nights.add(result("a.one"), partial=True)
    with History(nights.folder) as history:
        newest = history.newest("wine")
    assert {name: state.outcome for name, state in newest.items()} == {"a.one": PASSED, "a.two": FAILED}


def test_nights_are_compared_with_nights(nights: Nights) -> None:
    nights.add(result("a.one"), source="night")
    assert nights.add(result("a.one", FAILED)).failing == ("a.one",)
    assert nights.add(result("a.one", FAILED), source="night").failing == ("a.one",)
    with History(nights.folder) as history:
        assert history.previous(nights.runs[2]) == nights.runs[0]


def test_each_kind_is_found_where_it_lies(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    for number, (kind, place) in enumerate([("run", ""), ("night", "nightly"), ("smoke", "smoke")]):
        run_id = f"20261121-0{number}0000-00000{number}"
        path = folder / place / run_id
        found = crash(path / "crashes" / "01-a.one", "a.one", "s-1", bundle="")
        one = result("a.one", Outcome.CRASHED, crash=found)
        write_run(folder / place, run_id, [one], started=STARTED + number, source=kind)
    with History(folder) as history:  # made from the folders
        runs = history.runs(9)
        places = [one.evidence["folder"] for one in history.sightings("s-1")]
    assert [(run.kind, run.partial) for run in runs] == [("smoke", True), ("night", False), ("run", False)]
    assert all((folder / place).is_dir() for place in places)
    assert history_folder(folder / "nightly", "night") == folder
    assert history_folder(folder, "run") == folder


def test_rebuilds_of_a_clean_commit_are_one_driver(nights: Nights) -> None:
    for number, outcome in enumerate([PASSED, FAILED, PASSED]):
        last = nights.add(result("a.one", outcome), environment=at("a", **{"driver release": str(number)}))
    assert last.flaky == ("a.one",)
    for number, outcome in enumerate([PASSED, FAILED, PASSED], 3):
        changed = at("b", **{DIRTY: "yes", "driver release": str(number)})
        last = nights.add(result("a.two", outcome), environment=changed)
    assert last == News(fixed=("a.two",)), "nobody knows what was changed"


def test_a_scenarios_story(nights: Nights, project: Path) -> None:
    for commit, outcome, seconds in (
        ("a", PASSED, 0.5),
        ("b", PASSED, 0.7),
        ("c", FAILED, 0),
        ("d", FAILED, 0),
    ):
        nights.add(result("a.one", outcome, guest_seconds=seconds), environment=at(commit))
    with History(nights.folder) as history:
        (story,) = of_scenario(history, "a.one")
        good = last_good_commit(history, "wine")
    assert story.first_bad and story.last_good and story.durations and good
    assert (story.first_bad.run, story.first_bad.commit) == (nights.runs[2], "c" * 40)
    assert (story.last_good.run, story.last_good.commit) == (nights.runs[1], "b" * 40)
    assert (story.durations.last, story.durations.median, story.times) == (0.7, 0.6, 4)
    assert good.commit == "b" * 40
    shown = ask(project, "show", "a.one")
    assert f"first bad:    {nights.runs[2]}, failed, commit cccccccccccc" in shown.output
    assert "newest last:  ..FF" in shown.output
    document = json.loads(ask(project, "show", "a.o", "--json").output)
    assert document["cells"][0]["last_good"]["run"] == nights.runs[1]


def test_a_good_run_to_start_from_is_whole_clean_and_of_this_cell(nights: Nights) -> None:
    nights.add(result("a.one"), environment=at("a"))
    nights.add(result("a.one"), environment=at("b"), partial=True)
    nights.add(result("a.one"), environment=at("c", **{DIRTY: "yes"}))
    nights.add(result("a.one"), environment=at("d"), broke_off="Interrupted.")
    nights.add(result("a.one"), environment=at("e"), cell="wine/fault")
    nights.add(result("a.one"), result("a.two", FAILED), environment=at("f"))
    nights.add(result("a.one"))
    with History(nights.folder) as history:
        good = last_good_commit(history, "wine")
        assert good and good.commit == "a" * 40
        assert last_good_commit(history, "windows-11") is None


def test_a_crashs_story_names_the_first_bad_commit(nights: Nights, project: Path) -> None:
    nights.add(result("a.one"), environment=at("a"))
    nights.add(nights.crashing("a.one", "s-1"), environment=at("b"))
    nights.add(nights.crashing("a.one", "s-1"), environment=at("c"))
    shown = ask(project, "show", "s-1").output
    assert f"first bad:    {nights.runs[1]}, commit bbbbbbbbbbbb, a.one" in shown
    assert f"last good:    {nights.runs[0]}, commit aaaaaaaaaaaa" in shown


def test_filters(nights: Nights, project: Path) -> None:
    nights.add(result("a.one"), source="night", environment={**DRIVER, NIGHT: "20261121-000000-abcdef"})
    nights.add(result("a.one"), environment={"driver checked_x": "1"})
    nights.add(result("a.one"), guest="windows-11", environment={"driver checkedzx": "1"})

    def runs(*options: str) -> list[str]:
        document = json.loads(ask(project, "--json", *options).output)
        return [run["run"] for run in document["runs"]]

    assert runs("--nightly") == [nights.runs[0]]
    assert runs("--guest", "windows-11") == [nights.runs[2]]
    assert runs("--build", "checked_x") == [nights.runs[1]]
    assert runs("--build", "fault") == [nights.runs[0]]
    assert len(runs()) == 3


def old(folder: Path, schema: str, columns: str) -> None:
    """history.sqlite of an older schema with one run, in which a scenario crashed."""
    folder.mkdir(parents=True)
    db = sqlite3.connect(folder / FILE_NAME)
    db.executescript(schema)
    db.execute(
        "INSERT INTO runs VALUES (?, 'wine', 'wine', ?, 1.0, '', '{\"crashed\": 1}', '{}')",
        (OLD_RUN, STARTED),
    )
    db.execute("INSERT INTO outcomes VALUES (?, 'a.one', 'crashed', 1, 1, 0, '')", (OLD_RUN,))
    place = {"folder": f"{OLD_RUN}/crashes/01", "bundle": "", "what": "", "likely_cause": "", "stack": STACK}
    row = (OLD_RUN, PLAIN, "a.one", "release", "", 1, 0, json.dumps(place), *(["fault.c"] if columns else []))
    db.execute(f"INSERT INTO crashes VALUES ({', '.join('?' * len(row))})", row)
    db.commit()
    db.close()


@pytest.mark.parametrize(("schema", "columns"), [(SCHEMA_1, ""), (SCHEMA_2, "source")])
def test_every_released_schema_is_taken_over_with_its_nights(
    tmp_path: Path, schema: str, columns: str
) -> None:
    folder = tmp_path / "artifacts"
    old(folder, schema, columns)
    old(folder / "nightly", schema, columns)
    with sqlite3.connect(folder / "nightly" / FILE_NAME) as db:
        for table in ("runs", "outcomes", "crashes"):
            db.execute(f"UPDATE {table} SET run = ?", (NEW_RUN,))
    db.close()
    with History(folder) as history:
        assert {run.run: run.kind for run in history.runs(9)} == {OLD_RUN: "run", NEW_RUN: "night"}
        sightings = {one.run: one.evidence["folder"] for one in history.sightings(PLAIN)}
        assert sightings[NEW_RUN] == f"nightly/{OLD_RUN}/crashes/01"
        assert history.rows("PRAGMA user_version") == [(SCHEMA,)]
        write_run(folder, "20261121-020000-000002", [one_crash(folder)], started=STARTED + 7200)
        history.record(digest(RecordedRun(folder / "20261121-020000-000002")))
        assert history.news("20261121-020000-000002").known_crashes == (PLAIN,)


def one_crash(folder: Path) -> ScenarioResult:
    place = folder / "20261121-020000-000002" / "crashes" / "01-a.one"
    return result("a.one", Outcome.CRASHED, crash=crash(place, "a.one", PLAIN, bundle=""))


def test_a_night_of_a_damaged_old_history_is_no_failure(tmp_path: Path) -> None:
    folder = tmp_path / "artifacts"
    old(folder, SCHEMA_2, "source")
    (folder / "nightly").mkdir()
    (folder / "nightly" / FILE_NAME).write_bytes(b"nonsense" * 1000)
    with History(folder) as history:
        assert len(history.runs(9)) == 1

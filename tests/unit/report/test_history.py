"""history.sqlite: what a run adds, what changed since, and how a damaged file is replaced."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.cli import winvm
from harness.errors import ConfigurationError, HostError
from harness.outcome import Outcome, ScenarioResult
from harness.report.digest import digest
from harness.report.history import History, cell
from harness.report.historyfile import FILE_NAME
from harness.report.news import CrashState, News, ScenarioState, State, is_flaky, news
from harness.report.recorded import RecordedRun
from tests.fakes.recorded_runs import DRIVER, STARTED, crash, result, write_run

PASSED, FAILED, SKIPPED = Outcome.PASSED, Outcome.FAILED, Outcome.SKIPPED
ROOT = Path(__file__).parents[3]


class Nights:
    """An artifacts folder to which runs are added, an hour apart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "artifacts"
        self.folder.mkdir()
        self.runs: list[str] = []

    def add(self, *results: ScenarioResult, **fields: Any) -> News:
        """Records one run; what changed by it."""
        number = len(self.runs)
        run_id = f"20261121-{number:02d}0000-{number:06x}"
        path = self.folder / run_id
        write_run(self.folder, run_id, results, started=STARTED + 3600 * number, **fields)
        self.runs.append(run_id)
        with History(self.folder) as history:
            history.record(digest(RecordedRun(path)))
            return history.news(run_id)

    def crashing(self, scenario: str, signature: str, outcome: Outcome = Outcome.CRASHED) -> ScenarioResult:
        """A scenario of the next run that crashes, with its evidence."""
        number = len(self.runs)
        folder = self.folder / f"20261121-{number:02d}0000-{number:06x}" / "crashes" / f"01-{scenario}"
        return result(scenario, outcome, crash=crash(folder, scenario, signature, bundle=""))


@pytest.fixture
def nights(tmp_path: Path) -> Nights:
    return Nights(tmp_path)


def test_news_names_what_is_new_and_what_is_fixed(nights: Nights) -> None:
    first = nights.add(result("a.one"), result("a.two", FAILED), result("a.three", FAILED))
    assert (first.failing, first.bad) == (("a.three", "a.two"), True)
    second = nights.add(result("a.one", FAILED), result("a.two"), result("a.three", FAILED))
    assert second == News(failing=("a.one",), fixed=("a.two",), still_failing=("a.three",))
    third = nights.add(result("a.one", FAILED), result("a.two"), result("a.three", FAILED))
    assert third == News(still_failing=("a.one", "a.three"))
    assert not third
    assert not third.bad


def test_what_did_not_run_is_no_news_and_is_compared_with_its_last_run(nights: Nights) -> None:
    nights.add(result("a.one"), result("a.two", FAILED))
    assert nights.add(result("a.two", SKIPPED)) == News()
    assert nights.add(result("a.one", FAILED), result("a.two")) == News(failing=("a.one",), fixed=("a.two",))


def test_only_runs_of_one_cell_are_compared(nights: Nights) -> None:
    nights.add(result("a.one"), cell=cell("wine", ["release"]))
    assert nights.add(result("a.one", FAILED), cell=cell("wine", ["fault"])).failing == ("a.one",)
    assert nights.add(result("a.one"), cell=cell("wine", ["release"])) == News()
    assert cell("wine") == "wine"
    assert cell("win11", ["release"], ["verifier", "b", "b"]) == "win11/release/b/verifier"


def test_a_scenario_that_comes_and_goes_with_one_driver_is_flaky(nights: Nights) -> None:
    nights.add(result("a.one"))
    assert nights.add(result("a.one", FAILED)).failing == ("a.one",)
    assert nights.add(result("a.one")) == News(flaky=("a.one",))
    assert nights.add(result("a.one", FAILED)) == News(flaky=("a.one",))


def test_a_scenario_that_a_changed_driver_mends_is_fixed(nights: Nights) -> None:
    nights.add(result("a.one"))
    nights.add(result("a.one", FAILED))
    changed = {**DRIVER, "driver release": "another"}
    assert nights.add(result("a.one"), environment=changed) == News(fixed=("a.one",))


def test_an_equal_build_that_was_signed_again_is_the_same_driver(nights: Nights) -> None:
    for number, outcome in enumerate([PASSED, FAILED, PASSED]):
        signed = {"driver release": f"file {number}", "driver code release": "code"}
        last = nights.add(result("a.one", outcome), environment=signed)
    assert last == News(flaky=("a.one",))
    other = {"driver release": "file 3", "driver code release": "changed code"}
    nights.add(result("a.one", FAILED), environment=other)
    assert nights.add(result("a.one"), environment=other) == News(fixed=("a.one",))


def test_repeats_that_disagree_are_flaky(nights: Nights) -> None:
    assert nights.add(result("a.one"), result("a.one", FAILED), result("a.one")) == News(flaky=("a.one",))


def test_slower_is_twice_the_usual_time_in_the_guest(nights: Nights) -> None:
    for seconds in (0.5, 9.0, 0.6, 0.5, 0.5):
        nights.add(result("a.one", guest_seconds=seconds), result("a.two", guest_seconds=0.01))
    changed = nights.add(result("a.one", guest_seconds=1.2), result("a.two", guest_seconds=0.1))
    assert changed == News(slower=("a.one",))


def test_crashes_are_new_known_and_gone_by_their_signature(nights: Nights) -> None:
    nights.add(result("a.one"), result("a.two"))
    assert nights.add(nights.crashing("a.one", "c5-x.sys-F"), result("a.two")).crashes == ("c5-x.sys-F",)
    again = nights.add(nights.crashing("a.two", "c5-x.sys-F"), result("a.one"))
    assert (again.crashes, again.known_crashes) == ((), ("c5-x.sys-F",))
    assert nights.add(result("a.one")).fixed_crashes == ()  # the other one that it took down did not run
    assert nights.add(result("a.one"), result("a.two")).fixed_crashes == ("c5-x.sys-F",)
    assert nights.add(result("a.one"), result("a.two")).fixed_crashes == ()


def test_an_expected_crash_is_no_news(nights: Nights) -> None:
    assert nights.add(nights.crashing("fault.null_write", "c5-x.sys-F", PASSED)) == News()
    with History(nights.folder) as history:
        (seen,) = history.sightings("c5-x.sys-F")
    assert (seen.times, seen.expected, seen.build, seen.driver) == (1, 1, "release", "503f6fe2")


def test_states_can_be_compared_by_themselves() -> None:
    before = State({"a": ScenarioState(PASSED)}, {"s": CrashState(frozenset({"a"}))})
    assert news(before, State({"a": ScenarioState(FAILED)})) == News(failing=("a",), fixed_crashes=("s",))
    assert news(State(), before).crashes == ("s",)
    assert not is_flaky([])


def test_recording_a_run_twice_changes_nothing(nights: Nights) -> None:
    nights.add(result("a.one", FAILED))
    with History(nights.folder) as history:
        before = history.runs(10), history.news(nights.runs[0])
        history.record(digest(RecordedRun(nights.folder / nights.runs[0])))
        assert (history.runs(10), history.news(nights.runs[0])) == before


def test_a_new_history_takes_in_the_runs_that_lie_there(nights: Nights) -> None:
    nights.add(result("a.one"))
    nights.add(result("a.one", FAILED))
    (nights.folder / FILE_NAME).unlink()
    (nights.folder / "20261121-990000-000000").mkdir()
    (nights.folder / "20261121-990000-000000" / "results.json").write_text('{"schema": 99}')
    with History(nights.folder) as history:
        assert [run.run for run in history.runs(10)] == nights.runs[::-1]
        assert history.news(nights.runs[1]).failing == ("a.one",)


def test_a_damaged_history_is_set_aside_and_made_anew(nights: Nights) -> None:
    nights.add(result("a.one"))
    (nights.folder / FILE_NAME).write_bytes(b"no database at all" * 1000)
    with History(nights.folder) as history:
        assert history.set_aside
        assert history.set_aside.read_bytes().startswith(b"no database")
        assert [run.run for run in history.runs(10)] == nights.runs
    with History(nights.folder) as history:
        assert history.set_aside is None


def test_damage_inside_the_file_is_reported_with_a_remedy(nights: Nights) -> None:
    for _ in range(20):
        nights.add(*(result(f"a.scenario_{number}") for number in range(40)))
    file = nights.folder / FILE_NAME
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA journal_mode = DELETE")
    db.close()
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    file.write_bytes(data)
    with pytest.raises(HostError, match=r"cannot be used.*moves it aside"), History(nights.folder) as history:
        history.runs(10)


def test_a_history_of_a_newer_winvm_is_left_alone(nights: Nights) -> None:
    nights.add(result("a.one"))
    with sqlite3.connect(nights.folder / FILE_NAME) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(HostError, match="schema 99"):
        History(nights.folder)


def test_runs_that_end_together_are_all_recorded(nights: Nights) -> None:
    program = (
        "import sys; from pathlib import Path; from harness.report.history import History;"
        "from harness.report.digest import digest; from harness.report.recorded import RecordedRun;"
        "folder = Path(sys.argv[1]); run = digest(RecordedRun(folder)); history = History(folder.parent);"
        "[history.record(run) for _ in range(20)]"
    )
    runs = [f"20261121-0{number}0000-00000{number}" for number in range(4)]
    elsewhere = nights.folder.parent / "written"
    for number, run in enumerate(runs):
        write_run(elsewhere, run, [result("a.one")], started=STARTED + number)
    shutil.copytree(elsewhere, nights.folder, dirs_exist_ok=True)
    programs = [
        subprocess.Popen([sys.executable, "-c", program, str(nights.folder / run)], cwd=ROOT) for run in runs
    ]
    assert [one.wait(60) for one in programs] == [0, 0, 0, 0]
    with History(nights.folder) as history:
        assert sorted(run.run for run in history.runs(10)) == runs


def test_only_the_newest_runs_keep_their_scenarios(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.report.history.KEPT_RUNS", 2)
    for _ in range(4):
        nights.add(nights.crashing("a.one", "c5-x.sys-F"))
    with History(nights.folder) as history:
        assert len(history.runs(10)) == 4
        assert len(history.sightings()) == 4
        assert history.after(nights.runs[0]).scenarios == {}
        assert history.after(nights.runs[3]).scenarios


@pytest.fixture
def project(nights: Nights) -> Path:
    config = nights.folder.parent / "winvm.toml"
    config.write_text("[artifacts]\nfolder = 'artifacts'\n")
    return config


def ask(project: Path, *arguments: str) -> Result:
    return CliRunner().invoke(winvm, ["--config", str(project), "history", *arguments])


def test_winvm_history_shows_runs_and_crashes(nights: Nights, project: Path) -> None:
    nights.add(result("a.one"), result("a.two"))
    nights.add(nights.crashing("a.one", "c5-x.sys-F"), result("a.two"))
    shown = ask(project).output
    assert "1 passed, 1 crashed" in shown
    assert f"wine, {nights.runs[1]}: 1 new crash, 1 newly failing" in shown
    assert "new crashes    c5-x.sys-F" in shown
    document = json.loads(ask(project, "--json", "--last", "1").output)
    assert [run["run"] for run in document["runs"]] == [nights.runs[1]]
    assert document["cells"]["wine"]["failing"] == ["a.one"]
    assert document["crashes"][0]["signature"] == "c5-x.sys-F"


def test_winvm_history_show_tells_all_of_one_crash(nights: Nights, project: Path) -> None:
    for _ in range(2):
        nights.add(nights.crashing("a.one", "c5-x.sys-F\x1b[31m"))
    shutil.rmtree(nights.folder / nights.runs[0])  # as prune does
    shown = ask(project, "show", "c5-x").output
    assert "NullWrite driver/src/fault.c:60" in shown
    assert str(nights.folder / nights.runs[1] / "crashes" / "01-a.one") in shown
    assert "1 more were removed with their runs" in shown
    assert "\x1b" not in shown
    document = json.loads(ask(project, "show", "c5-x", "--json").output)
    assert (document["first_seen"], document["last_seen"]) == (nights.runs[0], nights.runs[1])
    assert (document["times"], document["scenarios"]) == (2, ["a.one"])
    assert document["drivers"] == ["release 503f6fe2"]


def test_a_signature_that_is_not_there_is_reported_with_its_neighbours(nights: Nights, project: Path) -> None:
    nights.add(nights.crashing("a.one", "c5-x.sys-F"))
    failed = ask(project, "show", "c5-x.sys-G")
    assert isinstance(failed.exception, ConfigurationError)
    assert "c5-x.sys-F" in str(failed.exception)


def test_a_damaged_history_is_an_error_once(nights: Nights, project: Path) -> None:
    nights.add(result("a.one"))
    (nights.folder / FILE_NAME).write_bytes(b"no database" * 1000)
    failed = ask(project)
    assert isinstance(failed.exception, HostError)
    assert "damaged" in str(failed.exception)
    assert nights.runs[0] in ask(project).output

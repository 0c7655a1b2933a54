"""report.html: its content, that guest text is never markup, and that it stays small."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import winvm
from harness.errors import ConfigurationError
from harness.journal import Journal, StepKind
from harness.outcome import Outcome, Subresult
from harness.report import evidence
from harness.report.digest import digest
from harness.report.history import History
from harness.report.page import duration
from harness.report.recorded import KILLED, UNDER_WAY, RecordedRun
from harness.report.reports import Reports, make_reports
from harness.report.timeline import COLUMNS, LANES, lane_of, timeline
from tests.fakes.recorded_runs import (
    EVENTS,
    STARTED,
    crash,
    eventful_run,
    printed,
    result,
    write_run,
)

RUN = "20261121-052421-ad79c2"
VOID = {"meta", "img", "rect", "br"}
OWN_LINE = {"h1", "h2", "h3", "h4", "p", "li", "dt", "dd", "summary", "figcaption", "pre", "footer", "title"}


class Outline(HTMLParser):
    """The page as text: one line for each element with text, with its tag; ids and pictures are named."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.opened: list[str] = []
        self._style = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self._style = tag == "style"
        if tag not in VOID:
            self.opened.append(tag)
        if tag == "section":
            self.lines.append(f"# {values['id']}")
        elif tag == "img":
            self.lines.append(f"img: {values['alt']}")
        elif tag == "details":
            self.lines.append("details" + (" open" if "open" in values else ""))
        elif tag == "rect" and values.get("class") != "track":
            self.lines.append(f"bar: {values['class']} {values['x']} {values['width']}")
        elif tag in OWN_LINE:
            self.lines.append(f"{tag}:")

    def handle_endtag(self, tag: str) -> None:
        self._style = False
        if tag not in VOID:
            assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        words = " ".join(data.split())
        if words and not self._style:
            self.lines[-1:] = [f"{self.lines[-1]} {words}"] if self.lines else [words]


def outline(page: str) -> str:
    """The structure of a page; fails where an element is not closed."""
    parser = Outline()
    parser.feed(page)
    parser.close()
    assert parser.opened == []
    return "\n".join(parser.lines) + "\n"


def reports(folder: Path, history: Path | None = None) -> tuple[Reports, str]:
    """The reports of a run, and its page; fails if a part is missing."""
    warnings: list[str] = []
    made = make_reports(folder, folder, history, warnings.append)
    assert warnings == []
    assert made.page
    return made, made.page.read_text(encoding="utf-8")


@pytest.fixture
def eventful(tmp_path: Path) -> str:
    """The page of a run with everything in it, after two others."""
    before = [result("registers.short_buffers"), result("lifecycle.reinstall", Outcome.FAILED)]
    before.append(result("registers.threads_lose_no_increment", guest_seconds=0.2))
    write_run(tmp_path, "20261120-010101-aaaaaa", before, started=STARTED - 90_000)
    flaky = [result("sync.five_strings", Outcome.FAILED)], [result("sync.five_strings")]
    for number, results in enumerate(flaky):
        write_run(tmp_path, f"20261120-02010{number}-aaaaaa", results, started=STARTED - 80_000 + number)
    broke_off = "winvm: The guest does not answer.\n    its console's end"
    folder = eventful_run(tmp_path, RUN, broke_off=broke_off, planned=12)
    return reports(folder, tmp_path)[1]


def test_its_structure_is_the_golden_one(eventful: str, golden: Callable[[str, str], None]) -> None:
    golden("report/eventful.txt", outline(eventful))


def test_nothing_of_the_guest_is_markup_or_a_control_character(eventful: str) -> None:
    assert "&lt;script&gt;document.title=&#39;owned&#39;" in eventful
    assert "<script" not in eventful
    assert re.findall(r"[^\n\x20-\x7e\xa0-\u2029\u2030-\uffff]", eventful) == []
    assert r"\x1b[31m\x07 \x9b \u202e" in eventful


def test_it_asks_for_nothing_from_elsewhere(eventful: str) -> None:
    assert "default-src 'none'; img-src data:;" in eventful
    assert re.findall(r'(?:src|href)="(?!data:|#|crashes/)([^"]*)"', eventful) == []
    assert "://" not in eventful


def test_a_killed_run_shows_what_it_has_and_where_it_stood(tmp_path: Path) -> None:
    results = [result("registers.set_and_get"), result("registers.short_buffers", Outcome.FAILED)]
    events = [
        *EVENTS[:6],
        {"event": "start", "step": "start agent", "time": 3.8},
        {"event": "note", "time": 9.0},
    ]
    folder = write_run(tmp_path, RUN, results, events=events, ended=False)
    with (folder / "results.json.partial").open("a") as file:
        file.write(',\n{"name": "torn')
    made, page = reports(folder)
    assert (made.digest.record.broke_off, made.digest.results) == (KILLED, 2)
    assert "Its last step: start agent" in page
    assert '<rect class="open"' in page
    assert "The run ended before it recorded this." in page


def test_a_run_under_way_is_not_called_killed(tmp_path: Path) -> None:
    folder = write_run(tmp_path, RUN, [result("registers.set_and_get")], ended=False)
    journal = Journal(folder / "run.jsonl")
    assert RecordedRun(folder).record.broke_off == UNDER_WAY
    journal.close()
    assert RecordedRun(folder).record.broke_off == KILLED


def test_a_run_without_a_result_is_no_success(tmp_path: Path) -> None:
    made, page = reports(write_run(tmp_path, RUN, []), tmp_path)
    assert "<h1>Nothing was tested</h1>" in page
    assert made.since
    assert "The first run of <code>wine</code> in this history." in page


def test_a_huge_and_hostile_run_stays_a_page(tmp_path: Path) -> None:
    line = "<&\"'" * 500
    results = [
        result(
            f"a.{number}{'<' * 400}",
            Outcome.FAILED if number % 2 else Outcome.PASSED,
            message=line,
            detail="\n".join([line] * 5),
            dbgprint=printed(*[line] * 5),
            notes=(line,) * 5,
        )
        for number in range(2000)
    ]
    events = [
        {
            "event": kind,
            "step": f"scenario {line[:300]} {number}",
            "time": number / 100 + (kind == "end") / 200,
        }
        for number in range(20_000)
        for kind in ("start", "end")
    ]
    _, page = reports(write_run(tmp_path, RUN, results, events=events))
    assert len(page) < 16 << 20
    assert page.count("<rect") < 2 * COLUMNS + len(LANES)
    assert "800 more are in results.json" in page


def test_a_scenario_reports_its_most_severe_execution(tmp_path: Path) -> None:
    outcomes = [Outcome.PASSED, Outcome.FAILED, Outcome.LOST, Outcome.FAILED]
    results = [result("a.one", outcome, message=f"number {n}") for n, outcome in enumerate(outcomes)]
    row = digest(RecordedRun(write_run(tmp_path, RUN, results))).rows["a.one"]
    assert (row.outcome, row.message, row.times, row.bad) == (Outcome.LOST, "number 2", 4, 3)


def test_equal_crashes_are_one_card(tmp_path: Path) -> None:
    folder = tmp_path / RUN / "crashes"
    crashes = [crash(folder / f"{number:02d}-a.one", "a.one", "c5-x.sys-F") for number in range(30)]
    results = [result("a.one", Outcome.CRASHED, crash=one) for one in crashes]
    made, page = reports(write_run(tmp_path, RUN, results))
    (group,) = made.digest.crashes.values()
    assert (group.times, group.unexpected, len(group.first)) == (30, 30, 20)
    assert page.count('<details class="card crash') == 1
    assert "30\u00d7" in page


def test_a_run_taken_elsewhere_finds_its_evidence(tmp_path: Path) -> None:
    moved = eventful_run(tmp_path / "there", RUN).rename(tmp_path / RUN)
    page = reports(moved)[1]
    assert page.count("data:image/png;base64,") == 2
    assert "<b>NullWrite</b>" in page


@pytest.mark.parametrize("picture", [b"GIF89a" + bytes(100), b"\x89PNG\r\n\x1a\n" + bytes(1 << 20)])
def test_a_picture_that_is_none_or_too_large_is_left_out(tmp_path: Path, picture: bytes) -> None:
    (tmp_path / "screenshot.png").write_bytes(picture)
    assert evidence.screenshot(tmp_path) == ""


@pytest.mark.parametrize("analysis", [b"\xff", b"[]", b'{"stack": 7}', b'{"fault": {"address": "x"}}'])
def test_an_analysis_that_cannot_be_read_costs_only_itself(tmp_path: Path, analysis: bytes) -> None:
    folder = eventful_run(tmp_path, RUN)
    for file in folder.glob("crashes/*/analysis.json"):
        file.write_bytes(analysis)
    page = reports(folder)[1]
    assert "exception 0xc0000005 at 0x7fffff30283f" in page


def test_time_of_nested_steps_counts_once() -> None:
    found = timeline([{**event, "time": event["time"] + STARTED} for event in EVENTS], STARTED, 20.0)
    assert found.spent["Guest"] == pytest.approx(1.8 + 4.4 + 0.3)
    assert found.spent["Scenarios"] == pytest.approx(0.1 + 0.2 + 2.0)
    assert sum(found.spent.values()) <= 20.0
    assert [bar.state for bar in found.lane("Crashes")] == ["ok", "crash", "crash"]


def kinds() -> Iterator[tuple[StepKind, float]]:
    """Every kind of step, with a second in which a step of it begins."""
    return ((kind, 2.0 * number) for number, kind in enumerate(StepKind))


def test_lanes_come_from_the_kind_of_a_step_not_from_its_name() -> None:
    def picture(name: str) -> list[tuple[str, float, float]]:
        events = [
            {"event": event, "kind": kind, "step": name.format(kind=kind), "time": STARTED + time, "ok": True}
            for kind, start in kinds()
            for event, time in (("start", start), ("end", start + 1.0))
        ]
        # As read from a file, where a kind is a word.
        read = json.loads(json.dumps(events))
        found = timeline(read, STARTED, 40.0)
        assert found.spent["Guest"] == pytest.approx(3.0)
        assert found.spent["Agent"] == pytest.approx(2.0)
        assert found.spent["Scenarios"] == found.spent["Crashes"] == pytest.approx(1.0)
        return [(bar.lane, bar.x, bar.width) for bar in found.bars]

    assert picture("{kind}") == picture("scenario renamed {kind}") == picture("keep crash evidence")


def test_a_kind_that_this_winvm_does_not_know_is_the_hosts_work() -> None:
    assert lane_of({"event": "start", "kind": "of tomorrow", "step": "start guest"}) == "Host"
    assert lane_of({"event": "start", "kind": ["boot"], "step": "start guest"}) == "Host"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"),
        (0.9996, "1.0 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min"),
        (97, "1 min 37 s"),
        (3725, "1 h 2 min"),
    ],
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_winvm_report_writes_the_page_anew(tmp_path: Path) -> None:
    folder = eventful_run(tmp_path / "artifacts", RUN)
    (tmp_path / "winvm.toml").write_text("")
    done = CliRunner().invoke(winvm, ["--config", str(tmp_path / "winvm.toml"), "report", str(folder)])
    assert done.output == f"{folder / 'report.html'}\n"
    assert (tmp_path / "artifacts" / "history.sqlite").is_file()
    assert json.loads((folder / "gl-code-quality-report.json").read_text()) == []  # no such sources here


def test_winvm_report_refuses_what_is_no_run(tmp_path: Path) -> None:
    for document in ("", "{}", '{"schema": 7, "run": "x", "scenarios": [\n'):
        (tmp_path / "results.json").write_text(document)
        with pytest.raises(ConfigurationError, match="schema 1"):
            RecordedRun(tmp_path)
    with pytest.raises(ConfigurationError, match="no results"):
        RecordedRun(tmp_path / "missing")


def test_a_folder_in_the_place_of_a_report_is_named(tmp_path: Path) -> None:
    folder = eventful_run(tmp_path, RUN)
    (folder / "report.html").mkdir()
    command = [sys.executable, "-m", "harness", "report", str(folder)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    said = " ".join(done.stderr.split())
    assert done.returncode == 3, said
    assert "report.html is a folder. Remove or rename it, then run winvm report." in said
    assert "internal error" not in said


def test_a_full_disk_costs_the_reports_and_not_the_run(small_disk: Path) -> None:
    folder = eventful_run(small_disk, RUN)
    before = (folder / "results.json").read_bytes()
    with (small_disk / "filler").open("wb", buffering=0) as filler, suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    warnings: list[str] = []
    made = make_reports(folder, folder, small_disk, warnings.append)
    assert made.page is None
    assert [warning.partition(" is missing: ")[0] for warning in warnings] == [
        "The history",
        "gl-code-quality-report.json",
        "report.html",
    ]
    assert (folder / "results.json").read_bytes() == before


def test_a_damaged_history_is_reported_and_the_run_is_in_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "history.sqlite").write_bytes(b"no database" * 1000)
    warnings: list[str] = []
    folder = eventful_run(tmp_path, RUN)
    made = make_reports(folder, folder, tmp_path, warnings.append)
    assert made.page
    assert ["The history was damaged" in warning for warning in warnings] == [True]
    with History(tmp_path) as history:
        assert [run.run for run in history.runs(10)] == [RUN]


def test_lines_that_are_no_events_are_passed_over(tmp_path: Path) -> None:
    folder = write_run(tmp_path, RUN, [result("registers.set_and_get")], events=EVENTS)
    whole = list(RecordedRun(folder).events())
    with (folder / "run.jsonl").open("ab") as file:
        file.write(
            b"\xff\n[]\n"
            + b"[" * 100_000
            + b'\n{"time": NaN}\n{"time": 1e300}\n{"event": "end", "time": 1}\n'
        )
        file.write(b'{"event": "result", "time": 2, "crash": {"time": "x"}, "name": 7}\n{"event": "st')
    assert list(RecordedRun(folder).events())[: len(whole)] == whole
    assert len(list(RecordedRun(folder).events())) == len(whole) + 2
    reports(folder)


def test_known_differences_are_a_list_of_their_own_and_no_failure(tmp_path: Path) -> None:
    differing = result("handles.stopped", Outcome.DIFFERS, message="differs here: <a stop never ends>")
    folder = write_run(tmp_path, RUN, [result("m.one"), differing])
    made = make_reports(folder, tmp_path, None, lambda _: None)
    page = (folder / "report.html").read_text()
    listed = page.split("<h3>Differs here</h3>")[1].split("</ul>")[0]
    assert "handles.stopped" in listed and "&lt;a stop never ends&gt;" in listed
    assert "<h1>Passed" in page or ">Passed<" in page
    assert made
    outline(page)


def test_tests_of_a_program_are_rows_of_their_scenario(tmp_path: Path) -> None:
    tests = [Subresult(f"Lamp.{number}", Outcome.PASSED) for number in range(300)]
    tests.append(Subresult("Lamp.<Off>", Outcome.FAILED, "got 1\x1b"))
    failed = result("programs.lamp", Outcome.FAILED, message="1 of 301 tests failed", subresults=tuple(tests))
    folder = write_run(tmp_path, RUN, [failed])
    make_reports(folder, tmp_path, None, lambda _: None)
    page = (folder / "report.html").read_text()
    rows = page.split('<table class="tests">')[1].split("</table>")[0]
    assert "301 tests of its program" in rows
    assert rows.index("Lamp.&lt;Off&gt;") < rows.index("Lamp.0"), "what failed comes first"
    assert "got 1\\x1b" in rows
    assert rows.count("<tr>") == 200
    assert "101 more are in results.json." in page
    outline(page)


def test_it_names_driver_commit_and_job_and_how_to_run_it_again(tmp_path: Path) -> None:
    origin = {"driver": "echo", "git commit": "a" * 40, "git branch": "<b>", "git dirty": "yes"}
    bad = result("a.one@fault", Outcome.FAILED)
    made = []
    for run, url in ((RUN.replace("21-", "20-"), "javascript:x()"), (RUN, "https://forge.example/7")):
        started = STARTED - 60 if run != RUN else STARTED
        folder = write_run(
            tmp_path / "artifacts", run, [bad], environment={**origin, "CI run": url}, started=started
        )
        made.append(make_reports(folder, folder, tmp_path / "artifacts", pytest.fail).page)
    first, second = (page.read_text() for page in made if page)
    assert "<dd>echo</dd>" in second
    assert "<dd>aaaaaaaaaaaa with changes on &lt;b&gt;</dd>" in second
    assert '<a href="https://forge.example/7" rel="noreferrer">' in second
    assert 'href="javascript' not in first
    assert "Run again: <code>winvm run a.one --build fault</code>" in second
    assert "Failing since" not in first
    assert f"Failing since {RUN.replace('21-', '20-')}, commit aaaaaaaaaaaa" in second

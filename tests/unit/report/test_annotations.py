"""Failures as GitHub and GitLab show them: at which line, and that no text of the guest becomes a command."""

from __future__ import annotations

import json
import re
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.outcome import Outcome
from harness.report import github, gitlab
from harness.report.digest import digest
from harness.report.findings import findings
from harness.report.recorded import RecordedRun
from harness.report.reports import Reports, make_reports
from harness.testing.github import GithubStep
from tests.fakes.recorded_runs import HOSTILE, crash, eventful_run, result, write_run

RUN = "20261121-052421-ad79c2"
SCHEMA_OF_GITLAB = {"description", "check_name", "fingerprint", "severity", "location"}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with the sources that `eventful_run` names."""
    for name in ("driver/src/fault.c", "driver/src/driver.c", "guest/scenarios/registers.py"):
        file = tmp_path / "repository" / "project" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "repository" / "project"


@dataclass
class FakeSession:
    """The part of the session that `GithubStep` uses."""

    reports: Reports | None
    uses_guest: bool = True

    def unmuted(self) -> AbstractContextManager[object]:
        return nullcontext()


def in_project(project: Path, file: str) -> str:
    """An absolute path, as scenarios have it."""
    return str(project / file)


def hostile_run(project: Path) -> Path:
    scenarios = in_project(project, "guest/scenarios/registers.py")
    folder = project / "artifacts" / RUN
    crashed = crash(
        folder / "crashes" / "01-a", "async.one", f"c5-x.sys-F\n{HOSTILE}", likely_cause=f"it\n{HOSTILE}"
    )
    results = [
        result(
            "registers.one",
            Outcome.FAILED,
            message=f"expected 3\n::error::owned\r\n{HOSTILE}",
            file=scenarios,
        ),
        result(
            "registers.two,line=1::a",
            Outcome.ERROR,
            message="::set-output name=x::%0A::add-mask::y",
            file=scenarios,
        ),
        result("async.one", Outcome.CRASHED, message=HOSTILE, crash=crashed, file=scenarios),
        result("registers.three", Outcome.LOST, message="gone", file="/etc/passwd", line=1),
        result("registers.four"),
    ]
    return write_run(project / "artifacts", RUN, results)


def obeyed(output: str) -> list[str]:
    """The commands that GitHub's runner takes from a step's output, by the rules its documentation gives.

    Old commands, `##[name]`, are taken wherever they stand in a line.
    """
    found, waiting = [], ""
    for line in output.splitlines():
        command = re.match(r"\s*::([^:\s][^:]*)::(.*)", line)
        old = re.search(r"##\[(.*)", line)
        if waiting:
            waiting = "" if command and command[1] == waiting else waiting
        elif command and command[1] == "stop-commands":
            waiting = command[2]
        elif command or old:
            found.append(line)
    return found


def test_a_failure_is_shown_at_its_scenario_and_a_crash_in_the_driver(project: Path) -> None:
    run = digest(RecordedRun(hostile_run(project)))
    found = {one.scenario: (one.file, one.line) for one in findings(run, project, {})}
    assert found == {
        "registers.one": ("guest/scenarios/registers.py", 12),
        "registers.two,line=1::a": ("guest/scenarios/registers.py", 12),
        "async.one": ("driver/src/fault.c", 60),
        "registers.three": ("", 0),  # no file of the project
    }


@pytest.mark.parametrize("variable", ["GITHUB_WORKSPACE", "CI_PROJECT_DIR"])
def test_paths_are_relative_to_the_checkout(project: Path, variable: str) -> None:
    run = digest(RecordedRun(hostile_run(project)))
    files = {one.file for one in findings(run, project, {variable: str(project.parent)})}
    assert files == {"", "project/guest/scenarios/registers.py", "project/driver/src/fault.c"}
    elsewhere = findings(run, project, {variable: "/somewhere/else"})
    assert {one.file for one in elsewhere} == {"", "guest/scenarios/registers.py", "driver/src/fault.c"}


@pytest.mark.parametrize(
    "named", ["../../outside.c", "/etc/passwd", "driver\\..\\..\\..\\outside.c", "a\0b", "x" * 5000]
)
def test_a_stack_names_no_file_outside_the_project(project: Path, named: str) -> None:
    (project.parent.parent / "outside.c").touch()
    folder = hostile_run(project)
    file = folder / "crashes" / "01-a" / "analysis.json"
    file.write_text(file.read_text().replace('"driver/src/fault.c"', json.dumps(named)))
    found = {one.scenario: one.file for one in findings(digest(RecordedRun(folder)), project, {})}
    assert found["async.one"] == "driver/src/driver.c"  # the next line of the stack


def test_nothing_but_the_findings_is_obeyed(
    project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    made = make_reports(hostile_run(project), project, None, lambda text: pytest.fail(text))
    step = GithubStep(FakeSession(made))  # type: ignore[arg-type]
    print("::debug::before")
    step.pytest_runtestloop()
    print(f"::error::printed by the guest\n  ::add-mask::x\nE   {HOSTILE}")
    print("::stop-commands::guessed\n::guessed::\n::error::x")
    step.pytest_unconfigure()
    before, *commands = obeyed(capsys.readouterr().out)
    assert before == "::debug::before"
    assert len(commands) == 4
    one, two, crashed, lost = commands
    assert one.startswith(
        "::error file=guest/scenarios/registers.py,line=12,title=failed%3A registers.one::expected 3"
    )
    assert two.startswith(
        "::error file=guest/scenarios/registers.py,line=12,title=error%3A registers.two%2Cline=1%3A%3Aa::"
    )
    assert two.endswith("::set-output name=x::%250A::add-mask::y")
    assert crashed.startswith("::error file=driver/src/fault.c,line=60,title=crashed%3A async.one::")
    assert lost == "::error title=lost%3A registers.three::gone"
    assert "\x1b" not in "".join(commands)
    assert "%250A" in crashed  # the guest's own %0A stays text


def test_the_runner_of_these_tests_obeys_what_is_not_guarded() -> None:
    assert obeyed("::error::a\n  ::warning::b\nx ##[error]c\nplain") == [
        "::error::a",
        "  ::warning::b",
        "x ##[error]c",
    ]


def test_a_session_without_a_guest_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    step = GithubStep(FakeSession(None, uses_guest=False))  # type: ignore[arg-type]
    step.pytest_runtestloop()
    step.pytest_unconfigure()
    assert capsys.readouterr().out == ""


def test_the_summary_is_markdown_in_which_the_guest_has_no_say(project: Path, tmp_path: Path) -> None:
    history = project / "artifacts"
    made = make_reports(hostile_run(project), project, history, lambda text: pytest.fail(text))
    file = tmp_path / "summary.md"
    file.write_text("of another step\n")
    github.append_summary(
        github.summary(made.digest, made.findings, made.since), {"GITHUB_STEP_SUMMARY": str(file)}
    )
    text = file.read_text()
    assert text.startswith("of another step\n### winvm: wine\n")
    assert "1 crashed, 1 lost, 1 error, 1 failed, 1 passed, in 20.2 s." in text
    assert "| crashed | `async.one` | &#60;script&#62;" in text
    assert "<script" not in text
    assert "\x1b" not in text
    assert all(line.count("|") == 4 for line in text.splitlines() if line.startswith("|"))


def test_the_summary_says_what_changed(tmp_path: Path) -> None:
    write_run(tmp_path, "20261120-010101-aaaaaa", [result("registers.short_buffers")], started=1.0)
    made = make_reports(eventful_run(tmp_path, RUN), tmp_path, tmp_path, lambda text: pytest.fail(text))
    text = github.summary(made.digest, made.findings, made.since)
    assert "- New crashes: `c0000005-winvm.sys-CompleteNext`" in text
    assert "- Newly failing: `async.cancel_while_completing`" in text
    assert "Not tested on this guest: irql, user-mdl-mapping." in text


def test_gitlab_gets_a_report_of_its_form(project: Path) -> None:
    folder = hostile_run(project)
    make_reports(folder, project, None, lambda text: pytest.fail(text))
    document = json.loads((folder / gitlab.FILE_NAME).read_text())
    assert [set(one) for one in document] == [SCHEMA_OF_GITLAB] * 3  # the fourth has no source line
    assert [one["severity"] for one in document] == ["major", "major", "blocker"]
    assert document[2]["location"] == {"path": "driver/src/fault.c", "lines": {"begin": 60}}
    assert len({one["fingerprint"] for one in document}) == 3
    again = gitlab.code_quality(findings(digest(RecordedRun(folder)), project, {}))
    assert [one["fingerprint"] for one in again] == [one["fingerprint"] for one in document]
    assert "\x1b" not in json.dumps(document, ensure_ascii=False)

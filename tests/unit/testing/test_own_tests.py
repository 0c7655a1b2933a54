"""A project's own tests reach results, page, annotations and history, and a failed one makes the page red."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[3]
CONFTEST = '''
"""The session's guest is one of the bench's fakes: everything above it is what a real run has."""
from pathlib import Path

from harness.testing.session import Session
from tests.unit.run.test_bench import Setup, connected


def pytest_sessionstart(session):
    folder = Path(__file__).parent / "fake"
    folder.mkdir()
    setup = Setup(folder, lambda agent, link: None)
    Session.of(session.config)._bench = connected(setup)
'''
SCENARIOS = '''
from agent import Context, scenario


@scenario
def one(t: Context) -> None:
    """One."""


@scenario
def two(t: Context) -> None:
    """Two."""
'''
TESTS = """
import pytest


def test_scenario(winvm_scenario):
    assert winvm_scenario.run().message == "the scenario passed, and this is not so"


def test_assertion(winvm_driver):
    assert winvm_driver.build == "debug"


def test_good(winvm_driver):
    assert winvm_driver.build


def test_error(winvm_guest):
    raise ValueError("<b>not</b> an assertion")


@pytest.fixture
def ends_badly(winvm_guest):
    yield
    raise OSError("torn down badly")


def test_teardown(ends_badly):
    pass


@pytest.mark.skip(reason="not today")
def test_skipped(winvm_guest):
    pass


@pytest.mark.xfail(reason="known")
def test_known(winvm_guest):
    assert False


def test_without_guest_fails():
    assert 1 == 2


def test_without_guest_passes():
    pass
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    project = tmp_path_factory.mktemp("project")
    (project / "winvm.toml").write_text('[scenarios]\nfolders = ["scenarios"]\n')
    (project / "scenarios").mkdir()
    (project / "scenarios" / "mine.py").write_text(SCENARIOS)
    (project / "conftest.py").write_text(CONFTEST)
    (project / "test_own.py").write_text(TESTS)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}:{ROOT / 'guest'}",
        "WINVM_HOME": str(project / "home"),
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(project),
        "GITHUB_STEP_SUMMARY": str(project / "summary.md"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return project, done


@pytest.fixture(scope="module")
def results(ran: tuple[Path, subprocess.CompletedProcess[str]]) -> dict[str, Any]:
    project, done = ran
    assert done.returncode == 1, done.stdout + done.stderr
    document: dict[str, Any] = json.loads((project / "artifacts" / "latest" / "results.json").read_text())
    return document


def test_every_test_has_its_result(results: dict[str, Any]) -> None:
    found = {result["name"]: (result["outcome"], result["kind"]) for result in results["scenarios"]}
    assert found == {
        "mine.one": ("passed", "mine"),
        "mine.two": ("passed", "mine"),
        "test_own.py::test_scenario[mine.one]": ("failed", "pytest"),
        "test_own.py::test_scenario[mine.two]": ("failed", "pytest"),
        "test_own.py::test_assertion": ("failed", "pytest"),
        "test_own.py::test_good": ("passed", "pytest"),
        "test_own.py::test_error": ("error", "pytest"),
        "test_own.py::test_teardown": ("error", "pytest"),
        "test_own.py::test_skipped": ("skipped", "pytest"),
        "test_own.py::test_known": ("skipped", "pytest"),
        "test_own.py::test_without_guest_fails": ("failed", "pytest"),
    }


def test_a_result_says_why_and_where(results: dict[str, Any]) -> None:
    by_name = {result["name"].partition("::")[2]: result for result in results["scenarios"]}
    assert "not</b> an assertion" in by_name["test_error"]["message"]
    assert "raise ValueError" in by_name["test_error"]["detail"]
    assert "torn down badly" in by_name["test_teardown"]["message"]
    assert by_name["test_skipped"]["message"] == "not today"
    assert by_name["test_known"]["message"] == "expected to fail: known"
    failed = by_name["test_assertion"]
    line = TESTS.splitlines().index("def test_assertion(winvm_driver):") + 1
    assert (Path(failed["file"]).name, failed["line"]) == ("test_own.py", line)


def test_page_annotations_and_history_have_them(
    ran: tuple[Path, subprocess.CompletedProcess[str]], results: dict[str, Any]
) -> None:
    project, done = ran
    assert results["counts"]["failed"] == 4
    page = (project / "artifacts" / "latest" / "report.html").read_text()
    assert "test_own.py::test_assertion" in page
    assert "<b>not</b>" not in page
    assert "<h1>Passed" not in page
    assert "::error file=test_own.py" in done.stdout
    assert "test_own.py::test_error" in (project / "summary.md").read_text()
    history = subprocess.run(
        [sys.executable, "-m", "harness", "history", "--last", "1"],
        cwd=project, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "test_own.py::test_assertion" in history.stdout, history.stdout + history.stderr

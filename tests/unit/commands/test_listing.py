"""`winvm list`, and what `winvm run` says of names that are no scenario's; nothing boots."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.bad_input_project import Project

MORE = '''from agent import Context, Crash, scenario


@scenario(tags=("smoke",))
def first(t: Context) -> None:
    """Says one thing."""


@scenario(needs=["irql"], cases=[1, 2])
def second(t: Context, size: int) -> None:
    """Needs what Wine lacks."""


@scenario(build="release", expect_crash=Crash(bugcheck=0xE2))
def third(t: Context) -> None:
    """Takes the guest down."""
'''


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project.make(tmp_path_factory.mktemp("listing") / "project", tmp_path_factory.mktemp("home"))
    (made.folder / "scenarios" / "more.py").write_text(MORE)
    return made


def test_scenarios_are_listed_by_file_with_what_selects_them(project: Project) -> None:
    code, said = project.winvm("list")
    assert code == 0
    assert "scenarios/fine.py fine.nothing scenarios/more.py more.first smoke more.second[1] needs" in said
    assert "more.second[2] needs irql (not on wine) more.third build release; expects a crash" in said
    assert said.endswith("5 scenarios, 2 of them skipped on wine")


def test_a_part_is_listed(project: Project) -> None:
    assert project.winvm("list", "more.second[2]")[1].endswith("1 scenario, 1 of them skipped on wine")
    assert project.winvm("list", "-m", "smoke")[1].endswith("more.first smoke 1 scenario")


def test_the_list_is_data(project: Project) -> None:
    code, said = project.winvm("list", "more", "--json")
    listed = {one["name"]: one for one in json.loads(said)}
    assert code == 0
    assert list(listed) == ["more.first", "more.second[1]", "more.second[2]", "more.third"]
    first = listed["more.first"]
    assert (first["tags"], first["line"], first["summary"]) == (["smoke"], 4, "Says one thing.")
    assert Path(first["file"]) == project.folder / "scenarios" / "more.py"
    assert listed["more.second[1]"]["missing"] == ["irql"]
    assert listed["more.third"]["expects_crash"] is True


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "more.frist"], "There is no scenario 'more.frist'. Did you mean more.first"),
        (["smoke", "more.frist"], "There is no scenario 'more.frist'. Did you mean more.first"),
        (["list", "more.frist"], "There is no scenario 'more.frist'. Did you mean more.first"),
        (["run", "-m", "smok"], "No scenario is chosen. Nothing matches -m 'smok'. Did you mean smoke?"),
        (["run", "more.first", "-k", "thrd"], "Nothing matches more.first -k 'thrd'."),
        (["run", "--build", "relaese"], "no driver build 'relaese'. Did you mean release?"),
        (["run", "--guest", "wien"], "no guest profile 'wien'. Did you mean wine?"),
        (["rnu"], "There is no command 'rnu'. Did you mean run?"),
    ],
)
def test_a_misspelt_word_ends_before_anything_boots(
    project: Project, arguments: list[str], says: str
) -> None:
    code, said = project.winvm(*arguments)
    assert (code, says in said) == (2, True), said
    assert "passed" not in said
    assert "!!!" not in said


def test_what_failed_before_is_all_where_nothing_ran(project: Project) -> None:
    code, said = project.winvm("run", "--lf", "more.frist")
    assert (code, "There is no scenario 'more.frist'" in said) == (2, True), said

"""`git bisect` with trials that read the checked-out files: what is found, skipped and refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import ConfigurationError
from harness.outcome import Outcome
from harness.versions.bisect import Found, Step, Verdict, bisect
from harness.versions.trial import Trial
from harness.versions.worktree import Worktree, commit_of
from tests.fakes.recorded_runs import crash, result
from tests.unit.run.test_origin import git


class Repository:
    """Commits that each write one word into `state`; a trial reads it."""

    def __init__(self, folder: Path, *states: str) -> None:
        self.folder = folder / "repository"
        (self.folder / "driver").mkdir(parents=True)
        git(self.folder, "init", "-q", "-b", "main")
        self.commits = []
        for number, state in enumerate(states):
            (self.folder / "driver" / "state").write_text(f"{number} {state}\n")
            git(self.folder, "add", ".")
            git(self.folder, "commit", "-q", "-m", f"commit {number}: {state}")
            self.commits.append(git(self.folder, "rev-parse", "HEAD"))
        self.evidence = folder / "evidence"
        self.asked: list[frozenset[str] | None] = []
        self.steps: list[Step] = []

    def search(self, signature: str = "") -> Found:
        with Worktree(self.folder / "driver", self.folder.parent / "trees", self.commits[-1]) as tree:

            def try_out(only: frozenset[str] | None) -> Trial:
                self.asked.append(only)
                return self.trial((tree.project / "state").read_text().split()[1])

            def told(step: Step, left: str) -> None:
                self.steps.append(step)

            return bisect(tree, self.commits[0], self.commits[-1], signature, try_out, told)

    def trial(self, state: str) -> Trial:
        if state == "unbuildable":
            return Trial(unusable="driver.c:1: error: expected ';'")
        if state == "refuses":
            return Trial(refused="The driver was not loaded: error 1275.")
        one = result("a.one", Outcome.FAILED if state == "failing" else Outcome.PASSED)
        if state.startswith("s-"):
            place = self.evidence / f"{len(self.asked)}" / "crashes" / "01"
            one = result("a.one", Outcome.CRASHED, crash=crash(place, "a.one", state, bundle=""))
        return Trial((one, result("a.two", Outcome.FAILED if state == "both" else Outcome.PASSED)))


def test_the_first_bad_commit(tmp_path: Path) -> None:
    states = ["good"] * 6 + ["failing"] * 5
    repository = Repository(tmp_path, *states)
    found = repository.search()
    assert found.first_bad and found.first_bad.commit == repository.commits[6]
    assert [one.name for one in found.first_bad.bad] == ["a.one"]
    assert repository.asked[0] is None and set(repository.asked[1:]) == {frozenset({"a.one"})}
    assert len(found.steps) <= 6
    assert repository.steps == found.steps


def test_the_users_tree_stays_as_it_is(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "good", "good", "failing", "failing")
    (repository.folder / "driver" / "state").write_text("being edited")
    hook = repository.folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    assert repository.search().first_bad
    assert (repository.folder / "driver" / "state").read_text() == "being edited"
    assert git(repository.folder, "symbolic-ref", "HEAD") == "refs/heads/main"
    assert git(repository.folder, "worktree", "list").count("\n") == 0
    assert list((tmp_path / "trees").iterdir()) == []
    assert not (tmp_path / "hooked").exists()
    assert (
        subprocess.run(["git", "bisect", "log"], cwd=repository.folder, capture_output=True).returncode != 0
    )


def test_commits_that_do_not_build_are_skipped(tmp_path: Path) -> None:
    states = ["good", "good", "unbuildable", "good", "unbuildable", "failing", "failing"]
    repository = Repository(tmp_path, *states)
    found = repository.search()
    assert found.first_bad is None or found.first_bad.commit == repository.commits[5]
    assert any(step.verdict is Verdict.SKIP for step in found.steps)
    whole = Repository(
        tmp_path / "whole", "good", "unbuildable", "good", "good", "failing", "failing", "failing"
    )
    end = whole.search().first_bad
    assert end and end.commit == whole.commits[4]


def test_where_only_unbuildable_commits_are_left_they_are_named(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "good", "unbuildable", "unbuildable", "failing")
    found = repository.search()
    assert found.first_bad is None
    assert set(found.candidates) == set(repository.commits[1:])


def test_a_crash_is_told_from_another_one(tmp_path: Path) -> None:
    states = ["good", "good", "s-Other", "s-Other", "good", "s-Wanted", "s-Wanted"]
    repository = Repository(tmp_path, *states)
    found = repository.search("s-Wanted")
    assert found.first_bad and found.first_bad.commit == repository.commits[5]
    assert {step.verdict for step in found.steps if "another way" in step.why} <= {Verdict.SKIP}


def test_a_driver_that_stops_to_load(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "good", "good", "good", "refuses", "refuses")
    found = repository.search()
    assert found.first_bad and found.first_bad.commit == repository.commits[3]
    assert "1275" in found.first_bad.why


def test_ends_that_do_not_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="is not bad: 2 passed"):
        Repository(tmp_path / "a", "good", "good").search()
    with pytest.raises(ConfigurationError, match="is bad, too"):
        Repository(tmp_path / "b", "failing", "failing", "failing").search()


def test_what_failed_before_is_not_searched(tmp_path: Path) -> None:
    class Both(Repository):
        def trial(self, state: str) -> Trial:
            old = result("a.old", Outcome.FAILED)
            new = result("a.new", Outcome.FAILED if state == "failing" else Outcome.PASSED)
            only = self.asked[-1]
            return Trial(tuple(one for one in (old, new) if only is None or one.name in only))

    repository = Both(tmp_path, "good", "good", "good", "failing")
    found = repository.search()
    assert found.first_bad and found.first_bad.commit == repository.commits[3]
    assert repository.asked[2:] == [frozenset({"a.new"})] * (len(repository.asked) - 2)


def test_what_is_no_commit(tmp_path: Path) -> None:
    repository = Repository(tmp_path, "good")
    for name in ("nothing", "--all", "HEAD~9"):
        with pytest.raises(ConfigurationError, match="is no commit"):
            commit_of(repository.folder, name)
    with pytest.raises(ConfigurationError, match="is in no git repository"):
        Worktree(tmp_path, tmp_path / "trees", repository.commits[0])

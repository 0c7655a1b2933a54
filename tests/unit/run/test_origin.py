"""Where a run comes from: git, and the CI job."""

from __future__ import annotations

import subprocess
from pathlib import Path

from harness.run.origin import BRANCH, COMMIT, DIRTY, NIGHT, URL, origin

GITHUB = {"GITHUB_SERVER_URL": "https://forge.example", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"}


def git(folder: Path, *words: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    done = subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def repository(folder: Path) -> str:
    git(folder, "init", "-q", "-b", "work")
    (folder / "driver.c").write_text("int x;\n")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    return git(folder, "rev-parse", "HEAD")


def test_commit_branch_and_changes(tmp_path: Path) -> None:
    assert origin(tmp_path, {}) == {}
    commit = repository(tmp_path)
    assert origin(tmp_path, {}) == {COMMIT: commit, BRANCH: "work"}
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "new").touch()
    assert DIRTY not in origin(tmp_path, {}), "a file that git does not know is no change of the commit"
    (tmp_path / "driver.c").write_text("int y;\n")
    assert origin(tmp_path / "artifacts", {}) == {COMMIT: commit, BRANCH: "work", DIRTY: "yes"}


def test_a_repository_without_a_commit_and_one_that_is_broken(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    assert origin(tmp_path, {}) == {}
    (tmp_path / ".git" / "HEAD").write_text("nonsense")
    assert origin(tmp_path, {}) == {}


def test_a_monitor_of_the_repository_is_not_started(tmp_path: Path) -> None:
    repository(tmp_path)
    monitor = tmp_path / "monitor"
    monitor.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\n")
    monitor.chmod(0o755)
    git(tmp_path, "config", "core.fsmonitor", str(monitor))
    assert COMMIT in origin(tmp_path, {})
    assert not (tmp_path / "started").exists()


def test_the_job_and_the_branch_that_a_ci_system_names(tmp_path: Path) -> None:
    commit = repository(tmp_path)
    git(tmp_path, "checkout", "-q", "--detach")
    found = origin(tmp_path, {**GITHUB, "GITHUB_REF_NAME": "7/merge", "GITHUB_HEAD_REF": "mine"})
    assert found == {COMMIT: commit, BRANCH: "mine", URL: "https://forge.example/a/b/actions/runs/7"}
    found = origin(tmp_path, {"CI_JOB_URL": "https://lab.example/-/jobs/3", "CI_COMMIT_REF_NAME": "main"})
    assert (found[BRANCH], found[URL]) == ("main", "https://lab.example/-/jobs/3")
    assert URL not in origin(tmp_path, {"BUILD_URL": "javascript:alert(1)"})
    assert origin(tmp_path, {"WINVM_NIGHT": "/a/nights/20260101-000000-abcdef"})[NIGHT] == (
        "20260101-000000-abcdef"
    )

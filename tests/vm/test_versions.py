"""A repository with a planted regression: `winvm bisect` finds its commit in a warm guest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.project.scaffold import write_driver
from tests.unit.run.test_origin import git
from tests.vm.conftest import CommandLine

pytestmark = pytest.mark.long

STEP_S = 12.0
"""Seconds of a step in which nothing crashes, on a busy host; 4 on a quiet one."""
SOUND = "    State->Counters.length = 0;\n"
PLANTED = "    static ULONG *volatile gone;\n    *gone = 0;\n"
CHANGES = 9
UNBUILDABLE, REGRESSION = 3, 6
"""Which change does not build, and which is the first with a write through a null pointer in CLEAR."""


class Repository:
    def __init__(self, folder: Path, winvm: CommandLine) -> None:
        self.folder = folder
        self.winvm = winvm
        write_driver(folder, "echo")
        git(folder, "init", "-q", "-b", "main")
        source = folder / "src" / "echo.c"
        sound = source.read_text()
        assert SOUND in sound
        self.commits = [""]
        for number in range(1, CHANGES + 1):
            text = sound if number < REGRESSION else sound.replace(SOUND, PLANTED)
            source.write_text(f"{text}\n/* change {number} */\n{'no C' * (number == UNBUILDABLE)}\n")
            git(folder, "add", ".")
            git(folder, "commit", "-q", "-m", f"change {number}")
            self.commits.append(git(folder, "rev-parse", "HEAD"))

    def bisect(self, *arguments: str) -> str:
        config = str(self.folder / "winvm.toml")
        return self.winvm.ok("--config", config, "bisect", *arguments, timeout=900).decode()


@pytest.fixture(scope="module")
def repository(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("versions") / "echo", winvm)


def test_the_planted_commit_is_found_with_its_crash(repository: Repository) -> None:
    said = repository.bisect(repository.commits[1], "HEAD", "-k", "basics and not bugcheck")
    print(said)
    assert f"first bad commit: {repository.commits[REGRESSION]}" in said
    assert "basics.text_is_kept:\n" in said
    assert re.search(r"^ +at\s+\S*echo\.c:\d+\s+in Clear", said, re.MULTILINE)
    assert re.search(r"^ +reproduce +winvm reproduce ", said, re.MULTILINE)
    assert git(repository.folder, "worktree", "list").count("\n") == 0
    assert repository.winvm.qemus() == []


def test_one_signature_is_searched_and_a_step_is_quick(repository: Repository) -> None:
    document = json.loads(
        repository.bisect(
            repository.commits[1],
            "main",
            "basics.text_is_kept",
            "--signature",
            "c0000005-echo.sys-Clear",
            "--json",
        )
    )
    print(json.dumps(document, indent=1))
    assert document["first_bad"] == repository.commits[REGRESSION]
    good = [step["seconds"] for step in document["steps"] if step["verdict"] == "good"]
    assert len(good) >= 2
    assert min(good) < STEP_S


def test_without_a_good_run_in_the_history_it_says_so(repository: Repository) -> None:
    config = str(repository.folder / "winvm.toml")
    done = repository.winvm.run("--config", config, "bisect", "last-good", "HEAD")
    assert done.returncode == 2
    assert b"no whole run of wine" in done.stderr


def test_two_builds_in_turns(repository: Repository) -> None:
    config = str(repository.folder / "winvm.toml")
    git(repository.folder, "checkout", "-q", repository.commits[1])
    said = repository.winvm.run(
        *(
            "--config",
            config,
            "compare",
            "release",
            "checked",
            "-k",
            "not bugcheck",
            "--rounds",
            "2",
            "--json",
        ),
        timeout=900,
    )
    assert said.returncode == 0, said.stderr
    document = json.loads(said.stdout)
    assert [one["name"] for one in document["scenarios"]] == [
        "basics.text_is_kept",
        "basics.lengths_are_checked",
    ]
    for one in document["scenarios"]:
        assert len(one["first"]["seconds"]) == len(one["second"]["seconds"]) == 2
        assert not one["other_time"], "two rounds prove nothing"


def test_two_commits_in_turns(repository: Repository) -> None:
    config = str(repository.folder / "winvm.toml")
    ends = repository.commits[1], repository.commits[-1]
    said = repository.winvm.run(
        "--config", config, "compare", *ends, "basics.text_is_kept", "--rounds", "1", timeout=900
    )
    assert said.returncode == 1, said.stderr
    assert b"1 passed against 1 crashed" in said.stdout
    assert repository.winvm.qemus() == []


def test_git_drives_the_warm_guest(repository: Repository) -> None:
    config = str(repository.folder / "winvm.toml")
    for commit, code in ((1, 0), (UNBUILDABLE, 125), (REGRESSION, 1)):
        git(repository.folder, "checkout", "-q", repository.commits[commit])
        done = repository.winvm.run("--config", config, "smoke", "--bisect", timeout=300)
        assert done.returncode == code, done.stderr
    git(repository.folder, "checkout", "-q", "main")
    repository.winvm.ok("down")

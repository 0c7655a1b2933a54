"""The workflows that `winvm init --ci` writes, run as a forge runs them: an empty folder, the wheel alone.

The host has every package already, so that `winvm host install` only builds libvirt's module. apt-get itself
is played: it would update the lists of this host.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from harness.project.ci import FORGES
from tests.unit.run.test_origin import git
from tests.unit.test_wheel import build_wheel
from tests.vm.conftest import ROOT, CommandLine
from tests.vm.test_versions import PLANTED, SOUND

pytestmark = pytest.mark.long

COMMAND_S = 900


class Forge:
    """A runner: a home, a repository, and files by which steps speak to it."""

    def __init__(self, folder: Path, winvm: CommandLine, wheels: Path) -> None:
        self.folder, self.winvm = folder, winvm
        self.repository = folder / "repository"
        programs = folder / "programs"
        programs.mkdir(parents=True)
        (programs / "apt-get").write_text(f'#!/bin/sh\necho "$*" >> {folder}/apt\n')
        (programs / "apt-get").chmod(0o755)
        self.variables = {
            "HOME": str(folder / "home"),
            "PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "WINVM_HOME": str(winvm.home),
            "PIP_FIND_LINKS": str(wheels),
            "PIP_CONSTRAINT": str(ROOT / "vm" / "host" / "constraints.txt"),
            "CI": "true",
            "GIT_CONFIG_COUNT": "2",
            **{f"GIT_CONFIG_KEY_{number}": f"user.{name}" for number, name in enumerate(("name", "email"))},
            **{f"GIT_CONFIG_VALUE_{number}": "a@b.example" for number in range(2)},
        }
        for name in ("PIP_CONFIG_FILE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "TMPDIR", "WINVM_MIRROR"):
            if name in os.environ:
                self.variables[name] = os.environ[name]
        (folder / "home").mkdir()
        own = Path.home() / ".config" / "pip"
        if own.is_dir():
            shutil.copytree(own, folder / "home" / ".config" / "pip")

    def shell(
        self, script: str, folder: Path | None = None, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One step of a workflow."""
        done = subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=folder or self.repository,
            env={**self.variables, **(variables or {})},
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        print(f"$ {script}\n{done.stdout}{done.stderr}")
        return done


@pytest.fixture(scope="module")
def forge(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Forge:
    folder = tmp_path_factory.mktemp("ci")
    wheels = build_wheel(folder / "wheels").parent
    forge = Forge(folder, winvm, wheels)
    command = [sys.executable, "-m", "harness"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    for words, place in (
        (["new-driver", "repository"], folder),
        *((["init", "--ci", f], None) for f in FORGES),
    ):
        subprocess.run([*command, *words], cwd=place or forge.repository, env=variables, check=True)
    git(forge.repository, "init", "-q", "-b", "main")
    git(forge.repository, "add", ".")
    git(forge.repository, "commit", "-q", "-m", "sound")
    return forge


class Job:
    """One job of the GitHub workflow, for one combination of its matrix."""

    def __init__(self, forge: Forge, build: str) -> None:
        document = YAML(typ="safe").load(forge.repository / FORGES["github"])
        self.job: Any = document["jobs"]["driver"]
        self.forge = forge
        self.outputs = forge.folder / "outputs"
        self.path = forge.folder / "path"
        self.summary = forge.folder / "summary"
        for file in (self.outputs, self.path, self.summary):
            file.write_text("")
        assert build in self.job["strategy"]["matrix"]["build"]
        self.variables = {
            "GUEST": self.job["strategy"]["matrix"]["guest"][0],
            "BUILD": build,
            "GITHUB_WORKSPACE": str(forge.repository),
            "GITHUB_OUTPUT": str(self.outputs),
            "GITHUB_PATH": str(self.path),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://forge.example",
            "GITHUB_REPOSITORY": "a/b",
            "GITHUB_RUN_ID": "7",
            "GITHUB_HEAD_REF": "main",
        }

    def run(self) -> dict[str, subprocess.CompletedProcess[str]]:
        """Every step that has commands, by name; steps for failures only after one."""
        done: dict[str, subprocess.CompletedProcess[str]] = {}
        for step in self.job["steps"]:
            failed = any(one.returncode for one in done.values())
            if "run" not in step or failed != ("failure()" in step.get("if", "")):
                continue
            added = ":".join(self.path.read_text().split())
            variables = {**self.variables, "PATH": f"{added}:{self.forge.variables['PATH']}".lstrip(":")}
            folder = Path(step["working-directory"]) if "working-directory" in step else None
            done[step["name"]] = self.forge.shell(step["run"], folder, variables)
        return done


def test_github_from_nothing_to_the_first_verdict(forge: Forge) -> None:
    job = Job(forge, "release")
    steps = job.run()
    assert {name: one.returncode for name, one in steps.items() if one.returncode} == {}
    assert job.outputs.read_text().startswith("key=wine-")
    assert "2 passed" in steps["Run the scenarios"].stdout
    assert "### winvm: wine/release" in job.summary.read_text()
    assert (forge.folder / "apt").read_text().splitlines()[1] == (
        "install --yes ca-certificates git python3-venv"
    )
    run = forge.repository / "artifacts" / "latest" / "results.json"
    for needed in ('"git commit"', '"CI run": "https://forge.example/a/b/actions/runs/7"'):
        assert needed in run.read_text()
    assert run.with_name("junit.xml").is_file()


def test_github_finds_the_commit_that_broke_it(forge: Forge) -> None:
    source = forge.repository / "src" / "repository.c"
    for number, text in enumerate((source.read_text(), source.read_text().replace(SOUND, PLANTED))):
        source.write_text(f"{text}\n/* {number} */\n")
        git(forge.repository, "commit", "-q", "-a", "-m", f"change {number}")
    job = Job(forge, "release")
    steps = job.run()
    assert steps["Run the scenarios"].returncode == 4
    assert "::error " in steps["Run the scenarios"].stdout
    found = steps["Find the first bad commit"]
    assert found.returncode == 0
    assert f"first bad commit: {git(forge.repository, 'rev-parse', 'HEAD')}" in found.stdout
    git(forge.repository, "reset", "-q", "--hard", "HEAD~2")


def test_gitlab_runs_the_same(forge: Forge) -> None:
    job = YAML(typ="safe").load(forge.repository / FORGES["gitlab"])["driver"]
    (cell,) = job["parallel"]["matrix"]
    variables = {"GUEST": cell["GUEST"], "BUILD": cell["BUILD"][0], "CI_JOB_URL": "https://forge.example/3"}
    done = forge.shell("\n".join([*job["before_script"], *job["script"]]), variables=variables)
    assert done.returncode == 0
    assert "2 passed" in done.stdout
    after = "\n".join(job["after_script"])
    assert forge.shell(after, variables={**variables, "CI_JOB_STATUS": "success"}).returncode == 0
    assert (forge.winvm.home / "images" / cell["IMAGE_KEY"]).is_dir()

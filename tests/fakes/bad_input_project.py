"""A user's folder with a small driver, in which `winvm` is run as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.images import wine
from harness.journal import Journal
from tests.fakes.image_inputs import FakeBuild
from tests.fakes.tiny_driver import SOURCE, build_tiny_driver

WINVM_TOML = """
[driver]
name = "tiny"
folder = "."
build = ["cp", "tiny.sys", "{out}/tiny.sys"]
builds = ["release"]

[scenarios]
folders = ["scenarios"]
"""
SCENARIO = '''from agent import Context, scenario


@scenario
def nothing(t: Context) -> None:
    """Needs nothing."""
'''


@dataclass(frozen=True)
class Project:
    """The folder, the bench's home for it, what the environment of `winvm` gets, and its user."""

    folder: Path
    home: Path
    environment: dict[str, str] = field(default_factory=dict)
    user: int | None = None

    @classmethod
    def make(cls, folder: Path, home: Path) -> Project:
        """A valid project; nothing is built yet."""
        project = cls(folder, home)
        (folder / "scenarios").mkdir(parents=True)
        (folder / "scenarios" / "fine.py").write_text(SCENARIO)
        (folder / "winvm.toml").write_text(WINVM_TOML)
        return project

    def with_driver(self, source: str = SOURCE) -> Project:
        """Builds `tiny.sys`."""
        build_tiny_driver(self.folder, source)
        return self

    def with_image(self) -> Project:
        """An image that passes all checks made before a machine boots from it."""
        wine.ensure(self.home, Journal(), FakeBuild())
        return self

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """`winvm` as a terminal starts it: leader of a process group, which gets Ctrl-C as a whole."""
        return self._start([sys.executable, "-m", "harness", *arguments])

    def winvm(self, *arguments: str) -> tuple[int, str]:
        """Exit code, and all output in one line. A traceback or a run folder that is left fails the test."""
        return self._end(self.start(*arguments))

    def pytest(self, *arguments: str) -> tuple[int, str]:
        """The same of `pytest` on this project's scenarios."""
        (self.folder / "test_it.py").write_text("def test_it(winvm_scenario):\n    winvm_scenario.check()\n")
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(self.folder)]
        return self._end(self._start([*command, *arguments]))

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self._become_user(), *command],
            cwd=self.folder,
            env={**os.environ, "WINVM_HOME": str(self.home), "COLUMNS": "100", **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def _become_user(self) -> list[str]:
        """Not root, but able to read the sources wherever they lie."""
        if self.user is None:
            return []
        identity = [f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        reading = ["--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"]
        return ["setpriv", *identity, *reading, "--"]

    def _end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        said, _ = process.communicate(timeout=120)
        assert "Traceback" not in said, said
        runs = self.home / "runs"
        assert not runs.is_dir() or list(runs.iterdir()) == [], said
        return process.returncode, " ".join(said.split())

"""A guest that the command line brings up, beside the one that the scenarios run in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.project import config
from harness.run.live import LiveGuest

ROOT = Path(__file__).parents[2]
TEST_SECONDS = 3600.0
"""For one test here: the first of a run may build a guest image on an emulated CPU."""


def pytest_configure(config: pytest.Config) -> None:
    """Registers the marker."""
    config.addinivalue_line("markers", "long: takes many minutes, and runs with --long only")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Gives what boots guests more time than a unit test has; skips the long ones unless they are wanted."""
    for item in items:
        if item.get_closest_marker("long") and not config.getoption("--long"):
            item.add_marker(pytest.mark.skip(reason="takes many minutes: make self-test LONG=1"))
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(TEST_SECONDS))


@dataclass(frozen=True)
class CommandLine:
    """Runs `winvm` with its own WINVM_HOME, so that it never uses a guest of the user; images are shared."""

    home: Path

    def run(
        self, *arguments: str, timeout: float = 300, stdin: bytes = b"", **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """One command to its end, with environment variables of its own."""
        environment = {**os.environ, "WINVM_HOME": str(self.home), **variables}
        command = [sys.executable, "-m", "harness", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=environment, input=stdin, capture_output=True, timeout=timeout, check=False
        )

    def ok(self, *arguments: str, timeout: float = 300, stdin: bytes = b"") -> bytes:
        """One command that must succeed; its output."""
        done = self.run(*arguments, timeout=timeout, stdin=stdin)
        assert done.returncode == 0, (
            f"{arguments}: {done.returncode}\n{done.stdout!r}\n{done.stderr.decode()}"
        )
        return done.stdout

    def outcomes(self, folder: Path, driver: str, scenarios: str) -> dict[str, Any]:
        """Runs a project of one C file and one scenario file, both named like the empty `folder`.

        Returns:
            The results by name. Something in it crashes or hangs unexpectedly: the exit code is 4.
        """
        (folder / "scenarios").mkdir()
        (folder / "scenarios" / f"{folder.name}.py").write_text(scenarios)
        (folder / f"{folder.name}.c").write_text(driver)
        (folder / config.FILE_NAME).write_text(
            f'[driver]\nname = "{folder.name}"\nsources = ["{folder.name}.c"]\n'
            '[scenarios]\nfolders = ["scenarios"]\n'
        )
        done = self.run("--config", str(folder / config.FILE_NAME), "run", "--json", timeout=600)
        assert done.returncode == 4, done.stderr.decode()
        return {result["name"]: result for result in json.loads(done.stdout)["scenarios"]}

    def qemus(self) -> list[bytes]:
        """Command lines of the QEMUs that run in this home."""
        found = []
        for file in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):  # it has ended
                found.append(file.read_bytes())
        return [line for line in found if b"qemu" in line and os.fsencode(self.home) in line]


@pytest.fixture(scope="session")
def winvm() -> Iterator[CommandLine]:
    """The command line, with a short-named home: libvirt's socket paths have 107 bytes."""
    home = Path(tempfile.mkdtemp(prefix="winvm-"))
    shared = config.home()
    for name in ("images", "downloads"):
        (shared / name).mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(shared / name)
    line = CommandLine(home)
    try:
        yield line
    finally:
        line.run("down")
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def up(winvm: CommandLine) -> Iterator[LiveGuest]:
    """A guest that `winvm up` left, with the release driver loaded."""
    yield LiveGuest.model_validate(json.loads(winvm.ok("up", "--json", timeout=600)))
    winvm.ok("down")

"""The project that is measured: a copy of the sample driver, so that its sources can be edited.

It has its own WINVM_HOME, so that it never uses a guest of the user. Images are shared.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.project import config
from tests.own_home import own_home

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A folder with winvm.toml and a driver, and the bench's home for it."""

    folder: Path
    home: Path

    @property
    def config_path(self) -> Path:
        """Its winvm.toml."""
        return self.folder / config.FILE_NAME

    def winvm(self, *arguments: str) -> None:
        """Runs one command of `winvm` in the project.

        Raises:
            subprocess.CalledProcessError: it failed; its output was captured.
        """
        subprocess.run(**self._command(*arguments), check=True, capture_output=True)

    def seen(self, command: str, beginning: str) -> float:
        """As `winvm`; returns the `time.monotonic()` at which a line with that beginning was printed.

        Raises:
            subprocess.CalledProcessError: it failed, or printed no such line.
        """
        when = 0.0
        with subprocess.Popen(
            **self._command(command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as it:
            assert it.stdout is not None
            for line in it.stdout:
                if line.startswith(beginning):
                    when = time.monotonic()
        if it.returncode or not when:
            raise subprocess.CalledProcessError(it.returncode, it.args)
        return when

    def _command(self, *arguments: str) -> dict[str, Any]:
        return {
            "args": [sys.executable, "-m", "harness", "--config", str(self.config_path), *arguments],
            "cwd": self.folder,
            "env": {**os.environ, "WINVM_HOME": str(self.home)},
            "text": True,
        }


@contextmanager
def project(operations: int) -> Iterator[Project]:
    """A project for the time of the context.

    Args:
        operations: how many I/O operations the in-guest loops make.
    """
    folders = [str(ROOT / "guest" / "scenarios"), str(Path(__file__).parent / "scenarios")]
    with own_home() as home, tempfile.TemporaryDirectory(prefix="wbp-") as named:
        folder = Path(named)
        shutil.copytree(ROOT / "driver", folder / "driver", ignore=shutil.ignore_patterns("build"))
        (folder / "harness").symlink_to(ROOT / "harness")  # the driver's Makefile hashes the contract with it
        (folder / config.FILE_NAME).write_text(
            '[driver]\nbuilds = ["release", "fault"]\ncontract = "contract"\n'
            f"[scenarios]\nfolders = {json.dumps(folders)}\n"
            f"[parameters]\noperations = {operations}\n"
        )
        yield Project(folder, home)

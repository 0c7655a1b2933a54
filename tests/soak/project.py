"""A second winvm project: the repository's driver and scenarios, and some that run long or print much.

With a home and a build folder of its own it disturbs no other run; images are shared.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.images import wine
from harness.machine.runfolder import HALF_MADE
from harness.project import config
from tests.own_home import own_home
from tests.soak.leftovers import left

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Project:
    """A folder with winvm.toml, and the bench's home for it."""

    folder: Path
    home: Path

    @property
    def config_path(self) -> Path:
        """Its winvm.toml."""
        return self.folder / config.FILE_NAME

    @property
    def artifacts(self) -> Path:
        """Where its runs leave their results."""
        return self.folder / "artifacts"

    @property
    def environment(self) -> dict[str, str]:
        """For processes that run it."""
        return {**os.environ, "WINVM_HOME": str(self.home), "CI": "true"}

    def words(self, *arguments: str, command: str = "run") -> list[str]:
        """The command line of `winvm run`, or another command; it may be run in any folder."""
        return [sys.executable, "-m", "harness", "--config", str(self.config_path), command, *arguments]

    def start(
        self, *arguments: str, command: str = "run", output: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        """`winvm run`, or another command, with these arguments."""
        return subprocess.Popen(
            self.words(*arguments, command=command),
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )

    def latest(self) -> dict[str, Any]:
        """results.json of the newest run."""
        document: dict[str, Any] = json.loads((self.artifacts / "latest" / "results.json").read_bytes())
        return document

    def own_images(self) -> Path:
        """Gives the home an images folder of its own; the path of the present image in it, symbolic links."""
        shared = wine.find(config.home())
        assert shared, "there is no image yet"
        (self.home / "images").unlink()
        image = self.home / "images" / shared.folder.name
        image.mkdir(parents=True)
        for file in shared.folder.glob("[!.]*"):
            (image / file.name).symlink_to(file)
        return image

    @property
    def growing_results(self) -> Path:
        """The results of the run that is under way."""
        return self.artifacts / "latest" / "results.json.partial"

    def journals(self) -> list[Path]:
        """run.jsonl of every run so far."""
        return [*self.artifacts.glob("2*/run.jsonl")]

    def ports(self) -> set[int]:
        """Host ports of the machines that there are."""
        found: set[int] = set()
        for record in self.home.glob("runs/*/*/machine.json"):
            with suppress(OSError, ValueError):  # half written, or gone again
                found |= set(json.loads(record.read_bytes())["ports"].values())
        return found

    def age_half_made(self) -> None:
        """Makes half-made run folders as old as they must be for a run to remove them: a minute."""
        for folder in self.home.glob(f"runs/{HALF_MADE}*"):
            os.utime(folder, (0, 0))

    def left(self, ports: Iterable[int] = ()) -> list[str]:
        """What there is of runs; see `leftovers.left`."""
        return left(self.home, ports)


@contextmanager
def project(uri: str = "", **parameters: object) -> Iterator[Project]:
    """A project for the time of the context; `parameters` are over those that it declares."""
    folder = Path(tempfile.mkdtemp(prefix="wvp-"))
    values = {"seconds": 6.0, "lines": 1000, **parameters}
    folders = json.dumps([str(ROOT / "guest" / "scenarios"), str(ROOT / "tests" / "soak" / "scenarios")])
    lines = ["[driver]", f"folder = {json.dumps(str(ROOT / 'driver'))}", 'builds = ["release", "fault"]']
    lines += ['contract = "contract"', "[scenarios]", f"folders = {folders}"]
    lines += ["[guest]", f"uri = {json.dumps(uri)}", "[parameters]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    (folder / config.FILE_NAME).write_text("\n".join(lines) + "\n")
    try:
        with own_home() as home:
            yield Project(folder, home)
    finally:
        shutil.rmtree(folder, ignore_errors=True)

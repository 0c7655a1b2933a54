"""Two runs of one project side by side against one alone: what a second guest costs on two cores."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

from tests.bench.project import ROOT, Project
from tests.bench.row import Row

TARGET = 1.7
SCENARIOS = "ioctl_"
"""What runs, as `winvm run -k` takes it: 74 short scenarios, without crashes."""


def measure(project: Project) -> list[Row]:
    """One run alone before and one after the pair, so that a host that grows busy is noticed."""
    _wall(project, 1)  # makes what is cached
    alone = [_wall(project, 1)]
    pair = _wall(project, 2)
    alone.append(_wall(project, 1))
    one = statistics.mean(alone)
    detail = {"alone": [round(seconds, 2) for seconds in alone], "pair": round(pair, 2)}
    what = "two runs side by side, wall time against one"
    cores = f"{os.cpu_count()} cores"
    note = f"`winvm run -k {SCENARIOS}` of one project, {cores}; one alone {one:.3g} s, both {pair:.3g} s"
    return [Row(what, pair / one, "x", TARGET, note=note, detail=detail)]


def _wall(project: Project, count: int) -> float:
    """Seconds until all of `count` runs have ended, each with artifacts of its own.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    folders = [project.folder / f"side-by-side-{number}" for number in range(count)]
    started = time.monotonic()
    processes = [_start(project, folder) for folder in folders]
    try:
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.terminate()  # of no effect on one that has ended
            process.wait()
    seconds = time.monotonic() - started
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, stderr=output[-4000:])
    for folder in folders:
        shutil.rmtree(folder)
    return seconds


def _start(project: Project, artifacts: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "--config", str(project.config_path), "run", "-k", SCENARIOS]
    environment = {**os.environ, "WINVM_HOME": str(project.home), "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [*command, "--artifacts", str(artifacts)],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

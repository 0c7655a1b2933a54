"""Two runs of one project side by side against one alone: what a second guest costs on two cores."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.bench.project import ROOT, Project
from tests.bench.row import Row

TARGET = 1.7
SCENARIOS = "ioctl_"
"""What runs, as `winvm run -k` takes it: 74 short scenarios, without crashes."""


def measure(project: Project) -> list[Row]:
    """The fastest of two runs alone and of two pairs, which alternate.

    Processor time is reported too: a core that one run uses is not available to the other.
    """
    _side_by_side(project, 1)  # fills the caches
    costs = [_side_by_side(project, count) for count in (1, 2, 1, 2)]
    alone, pair = (min(found, key=lambda cost: cost.wall) for found in (costs[::2], costs[1::2]))
    busy = f"{alone.processor / alone.wall:.2g} of {os.cpu_count()} cores"
    note = (
        f"`winvm run -k {SCENARIOS}` of one project, best of two: "
        f"one alone {alone.wall:.3g} s, keeping {busy} busy, both {pair.wall:.3g} s"
    )
    detail = {"alone, pair, alone, pair": [vars(cost) for cost in costs]}
    what = "two runs side by side, wall time of one"
    return [Row(what, pair.wall / alone.wall, "x", TARGET, note=note, detail=detail)]


@dataclass(frozen=True)
class _Cost:
    """Of runs side by side: seconds until the last has ended, and of all processors, guests included."""

    wall: float
    processor: float


def _side_by_side(project: Project, count: int) -> _Cost:
    """Runs `count` times at once, each with artifacts of its own.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    folders = [project.folder / f"side-by-side-{number}" for number in range(count)]
    used, started = _processor_seconds(), time.monotonic()
    processes = [_start(project, folder) for folder in folders]
    try:
        outputs = [process.communicate()[0] for process in processes]
    finally:
        for process in processes:
            process.terminate()  # of no effect on one that has ended
            process.wait()
    cost = _Cost(round(time.monotonic() - started, 2), round(_processor_seconds() - used, 2))
    for process, output in zip(processes, outputs, strict=True):
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, process.args, stderr=output[-4000:])
    for folder in folders:
        shutil.rmtree(folder)
    return cost


def _processor_seconds() -> float:
    """Of all children that have ended, and theirs: a run waits for its QEMU."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


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

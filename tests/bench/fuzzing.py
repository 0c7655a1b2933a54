"""The fuzzer: operations a second on the sample driver; planted bugs found, with guidance and without it.

A bug that is not found within `LIMIT_MIN` counts as found then, so that the ratio is a lower bound.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.project import ROOT, Project
from tests.bench.row import Row

RATE = 500.0
FOUND_S = 300.0
SOONER = 3.0
LIMIT_MIN = 5.0
BUGS = ("Long", "Short", "Overflow", "Freed", "Race")
SEEDS = 5


def measure(project: Project, seeds: int = SEEDS) -> list[Row]:
    """The rate, the slowest bug's median time, and the smallest ratio of the medians."""
    plain = _fuzz(project.config_path, project, "--minutes", "1", "--seed", "1")
    folder = project.folder / "planted"
    shutil.copytree(ROOT / "tests" / "vm" / "fuzz", folder)
    found: dict[str, dict[str, list[float]]] = {
        bug: {how: [_until(folder, project, bug, seed, how) for seed in range(1, seeds + 1)] for how in HOW}
        for bug in BUGS
    }
    medians = {
        bug: {how: statistics.median(times) for how, times in one.items()} for bug, one in found.items()
    }
    slowest = max(one["guided"] for one in medians.values())
    ratio = min(one["unguided"] / max(one["guided"], 0.1) for one in medians.values())
    return [
        Row("operations a second of winvm fuzz", plain["operations_per_second"], "/s", RATE, at_least=True),
        Row("planted bug found, slowest of five", slowest, "s", FOUND_S, note=f"median of {seeds} seeds"),
        Row(
            *("guided fuzzing finds a planted bug sooner by", ratio, "x", SOONER),
            at_least=True,
            note="smallest ratio of medians of five bugs; not found within 5 min counts as 5 min",
            detail={"seconds": found},
        ),
    ]


HOW: dict[str, tuple[str, ...]] = {"guided": (), "unguided": ("--unguided",)}


def _until(folder: Path, project: Project, bug: str, seed: int, how: str) -> float:
    """Seconds of fuzzing until the bug came up."""
    options = ("--device", rf"\\.\Planted{bug}", "--seed", str(seed), "--minutes", str(LIMIT_MIN))
    done = _fuzz(folder / "winvm.toml", project, *options, "--until-crash", "--no-minimise", *HOW[how])
    return float(done["findings"][0]["after_s"]) if done["findings"] else LIMIT_MIN * 60


def _fuzz(config: Path, project: Project, *options: str) -> dict[str, Any]:
    """What one campaign found.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", "harness", "--config", str(config), "fuzz", "--json", *options]
    environment = {**os.environ, "WINVM_HOME": str(project.home), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=config.parent, env=environment, check=False, capture_output=True, text=True
    )
    if done.returncode not in (0, 4):
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    result: dict[str, Any] = json.loads(done.stdout)
    return result

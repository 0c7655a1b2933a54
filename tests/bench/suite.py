"""The suite as `make vm-test` runs it, everything cached: its time, and the time beside the scenarios."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from tests.bench.project import ROOT
from tests.bench.row import Row, spread

TARGET_S = 150.0
OVERHEAD_TARGET_MS = 100.0
CYCLES = 3
SCENARIOS = 60


@dataclass(frozen=True)
class Suite:
    """One run of the suite.

    overheads: of each scenario that passed without a crash, host seconds minus the agent's own.
    """

    seconds: float
    overheads: list[float]
    rows: list[Row]


def measure() -> Suite:
    """Runs `pytest tests/vm/test_scenarios.py` once.

    Raises:
        subprocess.CalledProcessError: a scenario failed.
    """
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "tests/vm/test_scenarios.py", "--winvm-guest", "wine"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        done.check_returncode()
    folder = next(line.split()[1] for line in done.stdout.splitlines() if line.startswith("artifacts: "))
    with open(f"{folder}/results.json", encoding="utf-8") as file:
        results: list[dict[str, Any]] = json.load(file)["scenarios"]
    passed = [result for result in results if result["outcome"] == "passed"]
    cycles = sum(1 for result in results if result["crash"])
    quiet = [result for result in passed if not result["crash"]]
    overheads = [result["seconds"] - result["guest_seconds"] for result in quiet]
    detail = {"artifacts": folder}
    rows = [
        Row("`make vm-test`, everything cached", seconds, "s", TARGET_S, detail=detail),
        Row("... scenarios that ran in it", len(passed), "", SCENARIOS, at_least=True),
        Row("... crash-revert-resume cycles in it", cycles, "", CYCLES, at_least=True),
        Row(
            "host and transport per scenario, median",
            statistics.median(overheads) * 1e3,
            "ms",
            OVERHEAD_TARGET_MS,
            detail=spread(sorted(overheads)[::8]),
        ),
    ]
    return Suite(seconds, overheads, rows)

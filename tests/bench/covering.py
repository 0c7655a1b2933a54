"""What coverage costs: the same scenarios against the plain and the instrumented driver, in fresh guests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

from tests.bench.project import ROOT, Project
from tests.bench.row import Row

TARGET = 1.5
SCENARIOS = "ioctl_"
REPEATS = 5


def measure(project: Project) -> list[Row]:
    """The sum of the scenarios' own times by the agent's clock, and of their whole times by the host's."""
    plain, covered = _run(project), _run(project, "--coverage")
    within, whole = (new / old for old, new in zip(plain, covered, strict=True))
    note = f"`winvm run -k {SCENARIOS}`; whole times of the scenarios, reading of the counters included"
    detail = {"guest, whole": {"plain": plain, "coverage": covered}, "within the guest": round(within, 3)}
    return [Row("scenarios with coverage, times those without", whole, "x", TARGET, note=note, detail=detail)]


def _run(project: Project, *options: str) -> tuple[float, float]:
    """Seconds of all scenarios that ran: in the guest, and whole.

    Raises:
        subprocess.CalledProcessError: one failed.
    """
    artifacts = project.folder / "covering"
    command = [sys.executable, "-m", "harness", "--config", str(project.config_path), "run", "-k", SCENARIOS]
    command += [*options, "--repeat", str(REPEATS), "--artifacts", str(artifacts)]
    environment = {**os.environ, "WINVM_HOME": str(project.home), "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=project.folder, env=environment, check=True, capture_output=True, text=True)
    found = json.loads((artifacts / "latest" / "results.json").read_text())["scenarios"]
    shutil.rmtree(artifacts)
    ran = [one for one in found if one["outcome"] == "passed"]
    return sum(one["guest_seconds"] for one in ran), sum(one["seconds"] for one in ran)

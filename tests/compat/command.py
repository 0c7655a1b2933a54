"""Runs a winvm command in a project's folder, as its owner would."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def winvm(folder: Path, limit_s: float, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a command; 1 when it did not end in time: one must not hold up the rest."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return 1, f"winvm: {arguments[0]} did not end within {limit_s:g} s"
    return done.returncode, done.stdout

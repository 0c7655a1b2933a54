"""A second driver project: the output of `winvm new-driver second`, and one more scenario module."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.project.scaffold import write_driver

TWIST = Path(__file__).resolve().parents[1] / "second_driver" / "twist.py"


def write_second_driver(folder: Path) -> Path:
    """Writes the project to `folder`, which must not exist; returns it."""
    write_driver(folder, "second")
    shutil.copy(TWIST, folder / "scenarios")
    return folder

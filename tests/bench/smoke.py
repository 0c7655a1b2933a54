"""`winvm smoke` after one .c file was edited, with its guest warm: from key press to verdict."""

from __future__ import annotations

import statistics
import time

from tests.bench.project import Project
from tests.bench.row import Row, spread

TARGET_S = 3.0
VERDICT = "smoke: "


def measure(project: Project, repetitions: int) -> list[Row]:
    """Edits the project's own copy of the driver; the guest is made warm first and ended afterwards."""
    source = project.folder / "driver" / "src" / "cr42.c"
    samples, whole = [], []
    try:
        project.winvm("smoke")
        for number in range(repetitions):
            with source.open("a") as file:
                file.write(f"unsigned WinvmBench{number} = {number};\n")
            started = time.monotonic()
            samples.append(project.seen("smoke", VERDICT) - started)
            whole.append(time.monotonic() - started)
    finally:
        project.winvm("down")
    return [
        Row(
            "`winvm smoke` after editing one .c, VM warm: save to verdict",
            statistics.median(samples),
            "s",
            TARGET_S,
            note=f"the guest suspended and the command ended: {statistics.median(whole):.2f} s",
            detail=spread(samples),
        )
    ]

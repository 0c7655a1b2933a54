"""`winvm smoke` after one .c file was edited, with its guest warm: from key press to verdict."""

from __future__ import annotations

import statistics
import time

from tests.bench.project import Project
from tests.bench.row import Row, spread

TARGET_S = 20.0


def measure(project: Project, repetitions: int) -> list[Row]:
    """Edits the project's own copy of the driver; the guest is made warm first and ended afterwards."""
    source = project.folder / "driver" / "src" / "cr42.c"
    samples = []
    try:
        project.winvm("smoke")
        for number in range(repetitions):
            with source.open("a") as file:
                file.write(f"unsigned WinvmBench{number} = {number};\n")
            started = time.monotonic()
            project.winvm("smoke")
            samples.append(time.monotonic() - started)
    finally:
        project.winvm("down")
    value = statistics.median(samples)
    return [Row("`winvm smoke` after editing one .c, VM warm", value, "s", TARGET_S, detail=spread(samples))]

"""Samples a process's memory and open files twice a second, and computes whether they grow."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PERIOD_S = 0.5
SETTLED = 0.1
"""Part of a run's results after which it counts as settled: its modules are imported, its guest is up."""


@dataclass(frozen=True)
class Sample:
    """Resident memory in KiB, and open files."""

    rss: int
    files: int


def watched(run: subprocess.Popen[bytes], results: Path) -> list[Sample]:
    """Samples of a run, from its tenth part of `results` to the last of them: reports come after that."""
    samples: list[tuple[Sample, int]] = []
    while run.poll() is None:
        try:
            status = Path(f"/proc/{run.pid}/status").read_text().splitlines()
            files = len(list(Path(f"/proc/{run.pid}/fd").iterdir()))
            size = results.stat().st_size if results.exists() else 0
        except OSError:
            continue  # the process has just ended, or the file was renamed
        samples += [
            (Sample(int(line.split()[1]), files), size) for line in status if line.startswith("VmRSS:")
        ]
        time.sleep(PERIOD_S)
    last = max((size for _, size in samples), default=0)
    return [sample for sample, size in samples if last and size >= last * SETTLED]


def growth(values: Sequence[int]) -> int:
    """How much higher the lowest value of the last third is than that of the first.

    What leaks is still held at the quietest moment; what merely comes and goes is not.

    Raises:
        ValueError: too few values to say.
    """
    third = len(values) // 3
    return min(values[-third:] if third else ()) - min(values[:third])

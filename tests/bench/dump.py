"""Measures `winvm dump` as a whole process: a 1.4 MB triage dump, and a sparse bitmap dump of 8 GiB.

`python -m tests.bench.dump`. The triage dump is the real one under WINVM_SAMPLES when there is one, otherwise
one made here and filled up to the same size.
"""

from __future__ import annotations

import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench.row import Row, spread
from tests.unit import dump_writer as writer

SAMPLE = "triage_x64.dmp"
SAMPLE_SIZE = 1_444_532
ROUNDS = 9
EIGHT_GIBIBYTES = 8 << 30


def measure() -> list[Row]:
    """Seconds of each, the median of several, and the most memory that the large one took."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        triage, _ = _run(_triage(folder))
        large, kilobytes = _run(sparse(folder / "large.dmp"))
    return [
        Row("Dump summary, 1.4 MB triage, whole process", 1000 * statistics.median(triage), "ms", 150,
            detail=spread(triage)),
        Row("Dump summary, 8 GiB, whole process", 1000 * statistics.median(large), "ms", 500,
            detail=spread(large)),
        Row("Dump summary, 8 GiB, memory", kilobytes / 1024, "MB", 100),
    ]  # fmt: skip


def _triage(folder: Path) -> Path:
    samples = os.environ.get("WINVM_SAMPLES")
    if samples and (Path(samples) / SAMPLE).is_file():
        return Path(samples) / SAMPLE
    return writer.write(folder, writer.triage().ljust(SAMPLE_SIZE, b"\0"))


def sparse(path: Path) -> Path:
    """A bitmap dump with all pages of 8 GiB present, of which only the guest's few are not a hole."""
    made = writer.guest()
    bits = EIGHT_GIBIBYTES // 0x1000
    first = 0x2000 + 0x38 + bits // 8
    with path.open("wb") as file:
        file.write(writer.header(5, made))
        file.write(b"FDMPDUMP" + bytes(24) + struct.pack("<QQQ", first, bits, bits) + b"\xff" * (bits // 8))
        for pfn, page in made.pages.items():
            file.seek(first + pfn * 0x1000)
            file.write(page)
        file.truncate(first + EIGHT_GIBIBYTES)
    return path


def _run(dump: Path) -> tuple[list[float], int]:
    """Seconds of each round, and the peak resident size in KiB."""
    winvm = [str(Path(sys.executable).with_name("winvm")), "dump", str(dump), "--json"]
    seconds, peak = [], 0
    for _ in range(ROUNDS):
        started = time.perf_counter()
        process = subprocess.Popen(winvm, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        seconds.append(time.perf_counter() - started)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        peak = max(peak, usage.ru_maxrss)
    return seconds, peak


if __name__ == "__main__":
    rows = measure()
    for row in rows:
        print("  ".join(row.cells))
    sys.exit(0 if all(row.met for row in rows) else 1)

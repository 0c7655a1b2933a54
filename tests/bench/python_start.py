"""Measures what each scenario would cost if it started a new Python by a WinRM command."""

from __future__ import annotations

import statistics
import time

from harness.deadline import Deadline
from harness.guests.wine.guest import PYTHON
from tests.bench.guest import Subject
from tests.bench.row import Row, spread
from tests.bench.suite import Suite

TARGET = 50.0


def measure(subject: Subject, suite: Suite, repetitions: int) -> list[Row]:
    """Python with what an agent needs at least, ctypes and json, over a shell that is open already."""
    command = [PYTHON, "-c", "import ctypes, json"]
    samples = []
    for _ in range(repetitions):
        started = time.monotonic()
        assert subject.link.transport.run(command, Deadline.after(60)).exit_code == 0
        samples.append(time.monotonic() - started)
    ratio = statistics.median(samples) / statistics.median(suite.overheads)
    what = "... times less than a Python started by WinRM for each"
    return [Row(what, ratio, "x", TARGET, at_least=True, detail=spread(samples))]

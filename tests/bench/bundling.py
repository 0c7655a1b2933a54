"""From a crash to its bundle on disk: Wine's debugger writes the minidump, which is copied and analysed."""

from __future__ import annotations

import statistics

from tests.bench.guest import Subject
from tests.bench.row import Row, spread

TARGET_S = 10.0
SCENARIO = "fault.null_write"


def measure(subject: Subject, repetitions: int) -> list[Row]:
    """Seconds from the line that reported the crash to the finished file."""
    samples = []
    for _ in range(repetitions):
        crash = subject.bench.run(subject.scenario(SCENARIO)).crash
        assert crash is not None
        assert crash.folder is not None
        bundle = crash.folder.parents[1] / crash.bundle
        samples.append(bundle.stat().st_mtime - crash.time)
    value = statistics.median(samples)
    what = "from crash to written bundle, median"
    return [
        Row(
            what,
            value,
            "s",
            TARGET_S,
            note="a null write; the guest's minidump included",
            detail=spread(samples),
        )
    ]

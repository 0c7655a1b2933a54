"""Revert to an agent that answers, against a cold boot to the same; and what the overlay of a run costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

from harness.deadline import Deadline
from harness.machine.overlay import create_overlay
from tests.bench.guest import Subject
from tests.bench.row import Row, spread

REVERT_TARGET_S = 8.0
RATIO_TARGET = 10.0
OVERLAY_TARGET_MB = 5.0
CREATION_TARGET_MS = 200.0


def measure(subject: Subject, cold_boot: float, repetitions: int) -> list[Row]:
    """The first restore, which saves the guest with the agent for all later ones, is among the samples."""
    reverts = [_timed(subject.bench.restore) for _ in range(repetitions + 1)]
    value = statistics.median(reverts)
    detail = {**spread(reverts), "cold boot": round(cold_boot, 2)}
    return [
        Row("revert to agent answering, median", value, "s", REVERT_TARGET_S, detail=detail),
        Row("... times faster than a cold boot", cold_boot / value, "x", RATIO_TARGET, at_least=True),
        *_overlay(subject, repetitions * 3),
    ]


def _overlay(subject: Subject, repetitions: int) -> list[Row]:
    backing = next(subject.prepared.flavour.image.folder.glob("ready-*/disk.qcow2"))
    samples, size = [], 0
    for number in range(repetitions):
        overlay = subject.folder.path / f"measured-{number}.qcow2"
        samples.append(_timed(lambda file=overlay: create_overlay(file, backing, Deadline.after(30))))  # type: ignore[misc]
        size = max(size, _on_disk(overlay))
        overlay.unlink()
    created = statistics.median(samples) * 1e3
    return [
        Row("overlay of a run before boot", size / 1e6, "MB", OVERLAY_TARGET_MB),
        Row("... created in, median", created, "ms", CREATION_TARGET_MS, detail=spread(samples)),
    ]


def _on_disk(file: Path) -> int:
    return max(file.stat().st_size, file.stat().st_blocks * 512)


def _timed(action: Callable[[], object]) -> float:
    started = time.monotonic()
    action()
    return time.monotonic() - started

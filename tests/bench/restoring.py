"""Revert to an agent that answers, against a cold boot to the same; and what the overlay of a run costs."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.machine.overlay import create_overlay
from tests.bench.cold_boot import ColdBoot
from tests.bench.guest import Subject
from tests.bench.row import Row, spread

REVERT_TARGET_S = 8.0
RATIO_TARGET = 10.0
OVERLAY_TARGET_MB = 5.0
CREATION_TARGET_MS = 200.0
STEADY = 5
"""Fewest reverts of which a median is taken."""


def reverts(subject: Subject, repetitions: int) -> list[float]:
    """Seconds of each revert, from a guest that runs to the next one's agent that answers.

    The first saves the guest with the agent imported, for all later ones.
    """
    return [_timed(subject.bench.guest.restore) for _ in range(max(repetitions, STEADY) + 1)]


def rows(samples: Sequence[float], boots: Sequence[ColdBoot]) -> list[Row]:
    """The comparison of `reverts` with cold boots of the same run."""
    first, *steady = samples
    value = statistics.median(steady)
    cold = statistics.median(boot.seconds for boot in boots)
    after_save = (
        f"of {len(steady)}; the first of a run, which also saves the guest with its agent, took {first:.3g} s"
    )
    against = (
        f"power on to the agent's answer, {cold:.3g} s: median of {len(boots)}, before and after the reverts"
    )
    detail = {**spread(steady), "first": round(first, 2)}
    phases = {"cold boots": [vars(boot) for boot in boots]}
    return [
        Row("revert to agent answering, median", value, "s", REVERT_TARGET_S, note=after_save, detail=detail),
        Row("... times faster than a cold boot", cold / value, "x", RATIO_TARGET, True, against, phases),
    ]


def overlay(subject: Subject, repetitions: int) -> list[Row]:
    """Size of an overlay before its machine boots, and how long it takes to make."""
    backing = next(subject.prepared.installed.image.folder.glob("ready-*/disk.qcow2"))
    samples, size = [], 0
    for number in range(repetitions):
        made = subject.folder.path / f"measured-{number}.qcow2"
        samples.append(_timed(lambda file=made: create_overlay(file, backing, Deadline.after(30))))  # type: ignore[misc]
        size = max(size, _on_disk(made))
        made.unlink()
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

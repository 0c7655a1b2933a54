"""The round trip of a control code that does almost nothing: from the agent and from C, in one guest."""

from __future__ import annotations

import json
import statistics
import subprocess
from pathlib import Path

from harness.deadline import Deadline
from harness.outcome import Outcome
from tests.bench.guest import Subject
from tests.bench.row import Row

TARGET = 3.0
COMPILER = "x86_64-w64-mingw32-gcc"
PROGRAM = r"C:\winvm\run\null_ioctl.exe"


def measure(subject: Subject, operations: int, repetitions: int) -> list[Row]:
    """C and agent take turns, so that both see the same guest; the medians are compared."""
    program = subject.folder.path / "null_ioctl.exe"
    source = Path(__file__).with_name("null_ioctl.c")
    subprocess.run([COMPILER, "-O2", "-Wall", "-Werror", "-static", "-o", program, source], check=True)
    subject.link.files.push(program, PROGRAM, Deadline.after(60))
    subject.bench.load("release")
    loops = [{"c": _c(subject, operations), **_agent(subject)} for _ in range(repetitions)]
    microseconds = {name: statistics.median(loop[name] for loop in loops) for name in loops[0]}
    ratio = microseconds["device.ioctl"] / microseconds["c"]
    what = "null IOCTL in the agent, times the same loop in C"
    return [Row(what, ratio, "x", TARGET, detail={"microseconds": microseconds})]


def _c(subject: Subject, operations: int) -> float:
    """Microseconds of one operation."""
    done = subject.link.transport.run([PROGRAM, str(operations)], Deadline.after(120))
    assert done.exit_code == 0, done
    return float(done.stdout)


def _agent(subject: Subject) -> dict[str, float]:
    """Microseconds of one operation, by the call that makes it."""
    result = subject.bench.run(subject.scenario("null_ioctl.round_trips"))
    assert result.outcome is Outcome.PASSED, result
    found: dict[str, float] = json.loads(result.notes[0])
    return found

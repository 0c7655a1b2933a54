"""Measures a suspended warm VM: its CPU use on the host, and the time from resume to an answer."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.machine.processes import qemu_processes
from harness.outcome import Outcome
from tests.bench.guest import Subject
from tests.bench.row import Row, spread

IDLE_TARGET = 0.5
RESUME_TARGET_S = 1.0


def measure(subject: Subject, seconds: float, repetitions: int) -> list[Row]:
    """CPU of QEMU's process over `seconds`, and resume to a complete answer of the agent."""
    machine, bench = subject.bench.guest.machine, subject.bench
    (pid,) = qemu_processes(subject.folder.path)
    answers = subject.scenario("null_ioctl.answers")
    bench.run(answers)
    shares, resumes = [], []
    for _ in range(repetitions):
        machine.suspend(Deadline.after(30))
        before = cpu_seconds(pid)
        time.sleep(seconds)  # the time that is measured, not a wait for something
        shares.append((cpu_seconds(pid) - before) / seconds * 100)
        started = time.monotonic()
        machine.resume(Deadline.after(30))
        assert bench.run(answers).outcome is Outcome.PASSED
        resumes.append(time.monotonic() - started)
    idle, resume = statistics.median(shares), statistics.median(resumes)
    return [
        Row("suspended warm VM, of one core", idle, "%", IDLE_TARGET, detail=spread(shares)),
        Row("... resume to ready, median", resume, "s", RESUME_TARGET_S, detail=spread(resumes)),
    ]


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and all its threads: fields 14 and 15 of proc(5)'s stat."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

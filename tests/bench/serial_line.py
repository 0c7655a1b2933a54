"""The lines of a Wine guest that has no other way: text to and fro, and 10 MB each way."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.link import OpenLink
from harness.guests.wine.guest import PYTHON
from harness.machine.runfolder import RunFolder
from harness.project import config
from harness.run.artifacts import Artifacts
from harness.run.pipeline import prepare, start_guest
from harness.run.plan import make_plan
from tests.bench.project import Project
from tests.bench.row import Row

LINES = 300
LINE = b'{"event": "finished", "scenario": "ioctl_buffered.set_then_get", "outcome": "passed"}\n'
ECHO = "import sys\nfor line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.buffer.flush()"
PLACE = r"C:\winvm\run\measured.bin"
DEADLINE_S = 300.0


@dataclass(frozen=True)
class Line:
    """A kind of line. targets: lines a second, and seconds for a file; none for a 16550, QEMU's own speed.

    size: bytes of the file, in millions.
    """

    profile: str
    name: str
    size: int
    targets: tuple[float, float] | tuple[None, None] = (None, None)


KINDS = (Line("wine-console", "virtio console", 10, (100, 45)), Line("wine-serial", "16550", 1))


def measure(project: Project) -> list[Row]:
    """For each kind of line, in a guest of its own."""
    return [row for line in KINDS for row in _over(project, line)]


def _over(project: Project, line: Line) -> list[Row]:
    plan = make_plan(config.load(project.config_path), line.profile)
    artifacts = Artifacts(plan.config.artifacts_folder)
    with ExitStack() as stack:
        prepared = prepare(plan, artifacts.journal)
        folder = stack.enter_context(RunFolder.create(project.home / "runs"))
        bench = start_guest(prepared, folder, artifacts, stack)
        link = prepared.installed.guest.link(bench.guest.machine)
        stack.callback(link.close)
        return [_lines(link, line), *_files(link, folder.path, line)]


def _lines(link: OpenLink, line: Line) -> Row:
    deadline = Deadline.after(DEADLINE_S)
    process = link.transport.start([PYTHON, "-u", "-c", ECHO], deadline)
    heard = process.receive(deadline)
    took = []
    for _ in range(LINES):
        started, echoed = time.monotonic(), b""
        process.send(LINE)
        while not echoed.endswith(b"\n"):
            echoed += next(heard)[1]
        assert echoed == LINE
        took.append(time.monotonic() - started)
    process.terminate()
    median = statistics.median(took)
    note = f"{len(LINE)} bytes to a program's stdin and back; median of {LINES}: {median * 1000:.2g} ms"
    return Row(f"{line.name}: round trips of a line", 1 / median, "/s", line.targets[0], True, note)


def _files(link: OpenLink, folder: Path, line: Line) -> list[Row]:
    source, back, size = folder / "random.bin", folder / "back.bin", line.size * 10**6
    source.write_bytes(os.urandom(size))
    deadline = Deadline.after(2 * DEADLINE_S)
    pushed = _timed(lambda: link.files.push(source, PLACE, deadline))
    pulled = _timed(lambda: link.files.pull(PLACE, back, deadline, limit=size))
    assert back.read_bytes() == source.read_bytes()
    note = "random bytes, which do not compress"
    return [
        Row(f"{line.name}: {line.size} MB into the guest", pushed, "s", line.targets[1], note=note),
        Row(f"{line.name}: {line.size} MB out of the guest", pulled, "s", line.targets[1], note=note),
    ]


def _timed(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started

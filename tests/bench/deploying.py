"""10 MB into the guest: over SFTP, and as base64 over WinRM as people do it who have nothing else.

Two such ways: `echo ... >> file`, one cmd.exe to 6 KB, as pywinrm's users do it everywhere, estimated from a
few of its steps; and base64 lines into the standard input of one Python that decodes them, 64 KiB a request.
The comparison is with the first; both are in the JSON file.
"""

from __future__ import annotations

import base64
import os
import statistics
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.wine import PYTHON
from tests.bench.guest import Subject
from tests.bench.row import Row, spread

SIZE = 10 * 10**6
ECHO_BYTES = 6000
"""Base64 characters to a command line of cmd.exe, which ends at 8,191."""
TARGET = 10.0
TARGET_FILE = r"C:\winvm\run\measured.bin"
DECODER = (
    "import base64,sys\n"
    f"with open(r'{TARGET_FILE}','wb') as f:\n"
    "  for line in sys.stdin.buffer: f.write(base64.b64decode(line))\n"
)
DEADLINE_S = 900.0


def measure(subject: Subject, repetitions: int) -> list[Row]:
    """Medians of SFTP over `repetitions`, and one transfer the other way."""
    source = subject.folder.path / "measured.bin"
    source.write_bytes(os.urandom(SIZE))
    sftp = [_sftp(subject, source) for _ in range(repetitions)]
    echo, stdin = _echo(subject, source), _stdin(subject, source)
    fast = statistics.median(sftp)
    detail = {"sftp": spread(sftp), "echo and append, estimated": round(echo), "stdin": round(stdin, 2)}
    what = "deploy 10 MB, times faster than base64 over WinRM (`echo >>`)"
    return [Row(what, echo / fast, "x", TARGET, at_least=True, detail=detail)]


def _sftp(subject: Subject, source: Path) -> float:
    started = time.monotonic()
    subject.link.files.push(source, TARGET_FILE, Deadline.after(DEADLINE_S))
    return time.monotonic() - started


def _echo(subject: Subject, source: Path) -> float:
    """Seconds that all of it would take, from five steps of it."""
    text = base64.b64encode(source.read_bytes()[:ECHO_BYTES]).decode()[:ECHO_BYTES]
    started, steps = time.monotonic(), 5
    for _ in range(steps):
        command = ["cmd.exe", "/c", f"echo {text}>>{TARGET_FILE}.b64"]
        assert subject.link.transport.run(command, Deadline.after(DEADLINE_S)).exit_code == 0
    return (time.monotonic() - started) / steps * (SIZE * 4 / 3 / ECHO_BYTES)


def _stdin(subject: Subject, source: Path) -> float:
    started, deadline = time.monotonic(), Deadline.after(DEADLINE_S)
    process = subject.link.transport.start([PYTHON, "-c", DECODER], deadline)
    process.send(base64.encodebytes(source.read_bytes()), end=True)
    list(process.receive(deadline))
    process.terminate()
    assert process.exit_code == 0
    assert subject.link.files.size(TARGET_FILE, deadline) == SIZE
    return time.monotonic() - started

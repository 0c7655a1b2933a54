"""Copies 10 MB into the guest: over SFTP, and for comparison as base64 over WinRM in two ways.

Tools commonly use `echo ... >> file`, one cmd.exe for each 6 KB, because a command line of cmd.exe ends at
8,191 characters; its time is estimated from a few steps. The fastest way for base64 is one stream of lines to
the standard input of a Python that decodes them, 64 KiB a request. The target compares SFTP with the first
way; the table has both.
"""

from __future__ import annotations

import base64
import math
import os
import statistics
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.guests.wine.guest import PYTHON
from tests.bench.guest import Subject
from tests.bench.row import Row, spread

SIZE = 10 * 10**6
ECHO_BYTES = 6000
"""Base64 characters to a command line."""
STEPS = 5
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
    what = "deploy 10 MB, times faster than base64 over WinRM"
    commands = math.ceil(SIZE * 4 / 3 / ECHO_BYTES)
    appended = (
        f"SFTP {fast:.2g} s; base64 by `echo >>`, {commands} commands: {echo:.0f} s, from {STEPS} of them"
    )
    streamed = f"base64 in one stream to a decoder's standard input: {stdin:.2g} s"
    return [
        Row(what, echo / fast, "x", TARGET, at_least=True, note=appended, detail=detail),
        Row("... than the best case of base64", stdin / fast, "x", None, note=streamed),
    ]


def _sftp(subject: Subject, source: Path) -> float:
    started = time.monotonic()
    subject.link.files.push(source, TARGET_FILE, Deadline.after(DEADLINE_S))
    return time.monotonic() - started


def _echo(subject: Subject, source: Path) -> float:
    """Seconds that all of it would take, from a few steps of it."""
    text = base64.b64encode(source.read_bytes()[:ECHO_BYTES]).decode()[:ECHO_BYTES]
    started = time.monotonic()
    for _ in range(STEPS):
        command = ["cmd.exe", "/c", f"echo {text}>>{TARGET_FILE}.b64"]
        assert subject.link.transport.run(command, Deadline.after(DEADLINE_S)).exit_code == 0
    return (time.monotonic() - started) / STEPS * (SIZE * 4 / 3 / ECHO_BYTES)


def _stdin(subject: Subject, source: Path) -> float:
    started, deadline = time.monotonic(), Deadline.after(DEADLINE_S)
    process = subject.link.transport.start([PYTHON, "-c", DECODER], deadline)
    process.send(base64.encodebytes(source.read_bytes()), end=True)
    list(process.receive(deadline))
    process.terminate()
    assert process.exit_code == 0
    assert subject.link.files.size(TARGET_FILE, deadline) == SIZE
    return time.monotonic() - started

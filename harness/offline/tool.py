"""Runs one of Debian's disk tools to its end; raises a winvm error if the tool fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.host import confined, programs

OUTPUT_LIMIT = 64 << 20
"""Limit of a tool's output in bytes; files of a disk image need more than `programs.run` keeps by default."""

LIMITS = confined.Limits(cpu_s=600, file=1 << 40)
"""A memory dump of 64 GiB takes ntfscat some minutes; ntfscp writes a file as large as the volume."""


def run(
    argv: Sequence[str],
    deadline: Deadline,
    stdin: bytes = b"",
    *,
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
) -> bytes:
    """A tool's output, once it has ended with exit code 0.

    Args:
        reads, writes: the guest's files that the tool parses; it then runs confined and sees only these.

    Raises:
        HostError: it is not installed.
        DeadlineError: it did not end in time, and was killed.
        MachineError: it failed; `detail` holds the end of its output.
    """
    if reads or writes:
        done = confined.run(
            argv, deadline, reads=reads, writes=writes, limits=LIMITS, stdin=stdin, output=OUTPUT_LIMIT
        )
    else:
        done = programs.run(argv, deadline, stdin=stdin, limit=OUTPUT_LIMIT)
    if done.code:
        raise failed(argv, done.code, done.stderr or done.stdout)
    return done.stdout


def failed(argv: Sequence[str], code: int, said: bytes) -> MachineError:
    """The error for a tool that ended with a non-zero exit code."""
    return MachineError(
        f"{argv[0]} {confined.describe(code, LIMITS)} on {argv[-1]}.",
        remedy="The tool's message is below.",
        detail=programs.tail(said),
    )

"""Runs one of Debian's disk tools to its end; raises a winvm error if the tool fails."""

from __future__ import annotations

from collections.abc import Sequence

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.host import programs

OUTPUT_LIMIT = 64 << 20
"""Limit of a tool's output in bytes; files of a disk image need more than `programs.run` keeps by default."""


def run(argv: Sequence[str], deadline: Deadline, stdin: bytes = b"") -> bytes:
    """A tool's output, once it has ended with exit code 0.

    Raises:
        HostError: it is not installed.
        DeadlineError: it did not end in time, and was killed.
        MachineError: it failed; `detail` holds the end of its output.
    """
    done = programs.run(argv, deadline, stdin=stdin, limit=OUTPUT_LIMIT)
    if done.code:
        raise failed(argv, done.code, done.stderr or done.stdout)
    return done.stdout


def failed(argv: Sequence[str], code: int, said: bytes) -> MachineError:
    """The error for a tool that ended with a non-zero exit code."""
    return MachineError(
        f"{argv[0]} failed with exit code {code} on {argv[-1]}.",
        remedy="The tool's message is below.",
        detail=programs.tail(said),
    )

"""Runs one of Debian's disk tools to its end; its failure becomes winvm's."""

from __future__ import annotations

from collections.abc import Sequence

from harness.deadline import Deadline
from harness.errors import MachineError
from harness.host import programs

OUTPUT_LIMIT = 64 << 20
"""Bytes of a tool's output: the listings and files of a disk image are larger than what a program says."""


def run(argv: Sequence[str], deadline: Deadline, stdin: bytes = b"") -> bytes:
    """A tool's output, once it has ended with exit code 0.

    Raises:
        HostError: it is not installed.
        DeadlineError: it did not end in time, and was killed.
        MachineError: it failed; the detail is what it said.
    """
    done = programs.run(argv, deadline, stdin=stdin, limit=OUTPUT_LIMIT)
    if done.code:
        raise failed(argv, done.code, done.stderr or done.stdout)
    return done.stdout


def failed(argv: Sequence[str], code: int, said: bytes) -> MachineError:
    """A tool that ended with an exit code."""
    return MachineError(
        f"{argv[0]} failed with exit code {code} on {argv[-1]}.",
        remedy="Its own words are below.",
        detail=programs.tail(said),
    )

"""Runs a guest program to its end, whatever carries its streams. Owns what is kept of its output."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from harness.deadline import Deadline
from harness.errors import DeadlineError, TransportError
from harness.interfaces import CommandResult, GuestProcess, OnOutput

CAPTURE_LIMIT = 64 << 20
"""Bytes kept of one program's output."""


def run_to_end(
    process: GuestProcess, argv: Sequence[str], deadline: Deadline, on_output: OnOutput | None
) -> CommandResult:
    """The result of a started program, which is terminated in any case.

    Args:
        argv: its words, for errors.
        on_output: takes the output as it arrives; nothing is kept then.

    Raises:
        TransportError: it printed more than `CAPTURE_LIMIT` bytes.
        DeadlineError: it had not ended by the deadline.
    """
    kept = {"stdout": bytearray(), "stderr": bytearray()}
    try:
        for stream, data in process.receive(deadline):
            if on_output is not None:
                on_output(stream, data)
                continue
            kept[stream] += data
            if sum(map(len, kept.values())) > CAPTURE_LIMIT:
                raise TransportError(f"{argv[0]} printed more than {CAPTURE_LIMIT >> 20} MiB.")
    finally:
        process.terminate()
    if process.exit_code is None:
        raise DeadlineError(
            f"The guest command {subprocess.list2cmdline(argv)[:200]!r} "
            f"did not finish within {deadline.seconds:g} s.",
            detail=bytes(kept["stdout"][-2000:] + kept["stderr"][-2000:]).decode("utf-8", "backslashreplace"),
        )
    return CommandResult(process.exit_code, bytes(kept["stdout"]), bytes(kept["stderr"]))

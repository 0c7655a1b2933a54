"""Runs one of Debian's disk tools against a deadline; its failure becomes winvm's."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError, MachineError

PACKAGES = {
    "hivexregedit": "libwin-hivex-perl",
    "qemu-img": "qemu-utils",
    "qemu-storage-daemon": "qemu-utils",
    "setpriv": "util-linux",
}
"""The Debian package of each tool that is not in `ntfs-3g`."""
SAID = 2000


def run(argv: Sequence[str], deadline: Deadline, stdin: bytes = b"") -> bytes:
    """A tool's output, once it has ended with exit code 0.

    Raises:
        HostError: it is not installed.
        DeadlineError: it did not end in time, and was killed.
        MachineError: it failed; the detail is what it said.
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=max(0.001, deadline.remaining()), check=False
        )
    except FileNotFoundError as error:
        raise missing(argv[0]) from error
    except subprocess.TimeoutExpired as error:
        raise DeadlineError(f"{argv[0]} did not end within {deadline.seconds:g} s.") from error
    if done.returncode:
        raise failed(argv, done.returncode, done.stderr or done.stdout)
    return done.stdout


def missing(tool: str) -> HostError:
    """A tool that is not installed."""
    return HostError(
        f"{tool} is not installed.", remedy=f"Install it: apt install {PACKAGES.get(tool, 'ntfs-3g')}"
    )


def failed(argv: Sequence[str], code: int, said: bytes) -> MachineError:
    """A tool that ended with an exit code."""
    return MachineError(
        f"{argv[0]} failed with exit code {code} on {argv[-1]}.",
        remedy="Its own words are below.",
        detail=said[-SAID:].decode("utf-8", "backslashreplace").strip(),
    )

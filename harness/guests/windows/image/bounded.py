"""Runs a parser of a foreign file in a process of its own, with bounded memory, processor time and output.

A crafted ISO may make any parser take all memory, run for ever, or raise an unforeseen exception.
The module that parses is started with `python -m`; it calls `answer`, which prints one JSON object.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import ConfigurationError
from harness.host import programs

MEMORY_LIMIT = 1 << 30
CPU_SECONDS = 60
FILE_LIMIT = 256 << 20
"""Bytes of one file that the process may write."""
OUTPUT_LIMIT = 1 << 20
AGAIN = "Download the file again and compare its SHA-256 with the one its publisher gives."


class FileRefusedError(Exception):
    """The file cannot be used: `FileRefusedError(reason, remedy)`; the reason follows the file's name."""


def ask(module: str, file: Path, arguments: list[str], deadline: Deadline) -> dict[str, Any]:
    """What `module` answers about `file`.

    Raises:
        ConfigurationError: it refuses the file, or fails on it.
        DeadlineError: it did not answer in time.
    """
    deadline.check(f"Reading {file}")
    # -P: the folder that winvm was called in may hold modules of the same names.
    command = [sys.executable, "-P", "-m", module, str(file.resolve()), *arguments]
    try:
        done = programs.run(command, deadline, limit=OUTPUT_LIMIT)
    except programs.ProgramDeadlineError:
        deadline.check(f"Reading {file}")
        raise
    try:
        found = dict(json.loads(done.stdout))
    except ValueError:
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise ConfigurationError(
            f"{file} cannot be read: its reader ended with exit code {done.code}.",
            remedy=AGAIN,
            detail=last[-200:],
        ) from None
    if "reason" in found:
        raise ConfigurationError(f"{file} {found['reason']}.", remedy=str(found["remedy"]))
    return found


def answer(examine: Callable[[list[str]], dict[str, Any]]) -> None:
    """Bounds this process, then prints what `examine` finds about the command line's file."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT))
    try:
        found = examine(sys.argv[1:])
    except FileRefusedError as refused:
        found = {"reason": refused.args[0], "remedy": refused.args[1]}
    print(json.dumps(found))

"""What a bug report says of the host and of winvm: versions, the processor, the profile."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import harness
from harness.deadline import Deadline
from harness.errors import WinvmError
from harness.host import programs
from harness.project.profile import Profile

PROGRAMS = ("qemu-system-x86_64", "qemu-img", "ntfscat", "wimlib-imagex")
CPUS = Path("/proc/cpuinfo")
ANSWER_S = 10.0


def facts(profile: Profile) -> dict[str, Any]:
    """JSON of what decides how an installation goes on this host."""
    return {
        "winvm": harness.__version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processor": _processor(),
        "programs": {name: _version(name) for name in PROGRAMS},
        "profile": profile.model_dump(mode="json"),
    }


def _version(program: str) -> str:
    try:
        done = programs.run([program, "--version"], Deadline.after(ANSWER_S), merged=True)
    except WinvmError as error:
        return error.message
    return done.stdout.decode("utf-8", "replace").strip().partition("\n")[0][:200]


def _processor() -> str:
    try:
        with CPUS.open(encoding="utf-8", errors="replace") as table:
            return next(line.partition(":")[2].strip() for line in table if line.startswith("model name"))
    except (OSError, StopIteration):
        return "unknown"

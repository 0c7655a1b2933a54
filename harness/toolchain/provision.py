"""Builds the zipapp that provisions a Windows guest, and validates settings with it before shipping them."""

from __future__ import annotations

import sys
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ConfigurationError, DeadlineError
from harness.host import programs
from harness.host.resources import guest_folder
from harness.toolchain.agent import byte_code, write_zip

MAIN = b"import sys\nfrom provision.__main__ import main\n\nraise SystemExit(main(sys.argv[1:]))\n"
CHECK_S = 30.0


def build_provision(output: Path) -> Path:
    """Writes the zipapp `provision.pyz` to `output` and returns it; equal sources give equal bytes."""
    package = guest_folder() / "provision"
    entries = {"__main__.py": MAIN}
    for source in sorted(package.rglob("*.py")):
        entries[source.relative_to(package.parent).as_posix()] = source.read_bytes()
    return write_zip(output, {**entries, **byte_code(entries)})


def check_settings(pyz: Path, settings: Path, deadline: Deadline | None = None) -> None:
    """Validates a `provision.json` with the zipapp, as the guest does; schema: guest/provision/settings.py.

    Args:
        deadline: default 30 s.

    Raises:
        ConfigurationError: the guest would refuse it; names every wrong key, but never a secret's value.
    """
    limit = deadline or Deadline.after(CHECK_S)
    try:
        done = programs.run([sys.executable, "-I", str(pyz), "--check", str(settings)], limit)
    except DeadlineError as error:
        raise ConfigurationError(f"Reading {settings} did not finish within {limit.seconds:g} s.") from error
    if done.code:
        problems = "; ".join(done.stderr.decode("utf-8", "replace").split("\n")).strip("; ")
        raise ConfigurationError(
            f"The provisioning would refuse its settings: {problems}.",
            remedy="Correct the profile's [provision] and [hardware].",
        )

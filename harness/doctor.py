"""Checks of the host, each by use and not by presence; pure data, printed by the command line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Check:
    """One need of the bench and what this host has of it.

    found: path or name of what was found, empty when nothing was. remedy: empty when it works.
    required: False for what only some commands need.
    """

    need: str
    found: str
    version: str
    works: bool
    remedy: str = ""
    required: bool = True


def diagnose(home: Path) -> Iterator[Check]:
    """Runs every check, in the order in which a reader would fix them; each takes at most a few seconds."""
    raise NotImplementedError

"""Finds and removes what killed runs left: QEMU processes, overlays, libvirt roots."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Leftover:
    """One run folder whose owner is gone, and the QEMU process ids that were ended for it."""

    path: Path
    killed: tuple[int, ...]


def remove_leftovers(runs: Path) -> list[Leftover]:
    """Removes every folder under `runs` that is neither locked nor kept; returns what was found.

    A process is ended only when libvirt's pidfile in the folder names it and its command line holds the
    folder's path.
    """
    raise NotImplementedError

"""Run folders: `$WINVM_HOME/runs/<run-id>/`, one per process that runs machines, held by a lock for its life.

A process can open only one embedded libvirt root for as long as it lives (measured: a second path is refused
even after every connection is closed), so the root belongs to the run folder and every machine of the
process is a sub-folder of it:

    runs/<run-id>/
        lock        flock(2) held by the owner; free = the owner is gone
        kept        present when the machine is to outlive its process (`winvm up`)
        libvirt/    root of qemu:///embed
        <machine>/  overlay, channel files, machine.json
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from harness.deadline import Deadline


class RunFolder:
    """A run folder whose lock this process holds. Leaving the context removes it unless `keep` was called.

    Raises `HostError` when the folder cannot be made or its path is too long for libvirt's sockets.
    """

    path: Path

    @property
    def id(self) -> str:
        """The run's id: the folder's name."""
        raise NotImplementedError

    @classmethod
    def create(cls, runs: Path) -> Self:
        """Makes and locks a new folder under `runs`; its name has a random part."""
        raise NotImplementedError

    @classmethod
    def attach(cls, path: Path, deadline: Deadline) -> Self:
        """Takes the lock of a kept folder; waits until the deadline for a process that holds it."""
        raise NotImplementedError

    @property
    def kept(self) -> bool:
        """Whether the folder outlives its process."""
        raise NotImplementedError

    def keep(self) -> None:
        """Leaves machines running when the process ends; `attach` finds them again."""
        raise NotImplementedError

    def remove(self) -> None:
        """Ends every QEMU of this folder and removes it; safe to repeat."""
        raise NotImplementedError

    def close(self) -> None:
        """Removes the folder unless it is kept, and gives the lock back."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def runs_of(runs: Path) -> list[Path]:
    """Folders of kept runs under `runs`, oldest first."""
    raise NotImplementedError

"""The saved 'ready' state: RAM and disk of a guest that answers, made once per image and profile.

It lives in `images/<image>/ready-<key12>/`: `memory.save` (libvirt save file), `disk.qcow2` (overlay of
`base.qcow2` as it was at the save, read-only), `domain.xml`, `manifest.json`. The folder is made beside its
place and renamed into it, so that a killed build leaves no half state.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.machine.domain import MachineSpec
from harness.machine.protocol import Machine
from harness.machine.runfolder import RunFolder

WaitReady = Callable[[Machine, Deadline], None]
"""Blocks until the guest of a booting machine answers completely (an HTTPS answer, not an open port).

Raises `BootError` or `DeadlineError`. Runs at cold boot only.
"""


@dataclass(frozen=True)
class ReadyState:
    """A sealed ready state on disk."""

    folder: Path
    key: str
    memory: Path
    disk: Path
    size: int
    """Bytes of the save file."""


def ready_state(
    spec: MachineSpec, folder: RunFolder, wait_ready: WaitReady, deadline: Deadline
) -> ReadyState:
    """The ready state of `spec`: found, or made by a cold boot in `folder` (several processes: one makes it).

    A state that is incomplete or damaged is removed and made again.

    Raises:
        BootError: the guest did not become ready; `detail` holds the console tail.
        MachineError: libvirt or QEMU refused.
        HostError: not enough disk space.
    """
    raise NotImplementedError


def find_ready_state(spec: MachineSpec) -> ReadyState | None:
    """The ready state of `spec` if there is a whole one; costs a few file reads."""
    raise NotImplementedError

"""Finds and removes what killed runs left: QEMU processes, overlays, libvirt roots, incomplete folders."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HostError, WinvmError
from harness.host import locks, memory_group
from harness.machine import unattended
from harness.machine.connection import Connection
from harness.machine.daemon import Claim
from harness.machine.processes import end_process, qemu_processes
from harness.machine.remote.ssh import Target
from harness.machine.removal import remove_tree
from harness.machine.runfolder import HALF_MADE, KEPT, end_domains, open_lock

_HALF_MADE_SECONDS = 60.0
"""Seconds. Making a folder takes a millisecond; an older incomplete one is from a process that was killed."""
_REMOVAL_SECONDS = 2.0
"""Seconds to remove a leftover, to which nobody writes any more; later runs try again what is left."""
_DAEMON_SECONDS = 15.0
"""Seconds for a daemon to list the domains left on it; later runs ask a host that is off again."""


@dataclass(frozen=True)
class Leftover:
    """One run folder whose owner is gone, and what was ended: QEMU processes here, domains on a daemon.

    `trouble` says why the folder is still there; empty when it is gone.
    """

    path: Path
    killed: tuple[int, ...]
    domains: tuple[str, ...] = ()
    trouble: str = ""


def remove_leftovers(runs: Path) -> list[Leftover]:
    """Removes every folder under `runs` that no process holds; returns what was found.

    A kept folder stays as long as a QEMU of it lives. A process is ended only when a pidfile in the folder
    names it and its command line holds the folder's path; a domain of a daemon only when its name has the
    folder's token. What runs on a host that does not answer is left to a later run.

    Raises:
        MachineError: a QEMU does not end.
    """
    if not runs.is_dir():
        return []
    found = (_remove(path) for path in sorted(runs.iterdir()) if path.is_dir())
    return [leftover for leftover in found if leftover is not None]


def end_kept(path: Path, deadline: Deadline) -> None:
    """Ends the machines of a kept run and removes its folder; waits for a process that is using it.

    Raises:
        DeadlineError: that process goes on using it.
        HostError: the folder cannot be removed.
        MachineError: a QEMU does not end.
    """
    try:
        lock = open_lock(path, create=False)
    except FileNotFoundError:
        return
    try:
        if not locks.take_by(lock, deadline):
            deadline.check(f"Run {path.name} is in use; waiting for its process")
        for pid in qemu_processes(path):
            end_process(pid, path)
        for machine in path.glob(f"*/{unattended.LOCK}"):
            unattended.wait_for_end(machine.parent, deadline)
        remove_tree(path)
        memory_group.forget(path.name)
    finally:
        os.close(lock)


def _remove(path: Path) -> Leftover | None:
    if path.name.startswith(HALF_MADE):
        try:
            young = time.time() - path.stat().st_mtime < _HALF_MADE_SECONDS
        except FileNotFoundError:
            return None
        if young:
            return None
        shutil.rmtree(path, ignore_errors=True)
        return Leftover(path, ())
    try:
        lock = open_lock(path)
    except FileNotFoundError:  # its owner removed it meanwhile
        return None
    try:
        # No link left: its owner removed the folder between our open and the lock.
        if not locks.take(lock) or not os.fstat(lock).st_nlink:
            return None
        living = qemu_processes(path)
        if living and (path / KEPT).exists():
            return None
        killed = tuple(pid for pid in living if end_process(pid, path))
        domains: tuple[str, ...] = ()
        if claim := Claim.of(path):
            try:
                domains = _end_domains(claim)
            except WinvmError:
                # A daemon of this host, running or not, has no QEMU but those that were ended above.
                if Target.of(claim.uri):
                    return None
        try:
            remove_tree(path, _REMOVAL_SECONDS)
        except HostError as error:
            return Leftover(path, killed, domains, str(error))
        memory_group.forget(path.name)
        return Leftover(path, killed, domains)
    finally:
        os.close(lock)


def _end_domains(claim: Claim) -> tuple[str, ...]:
    connection = Connection(claim.uri, seconds=_DAEMON_SECONDS)
    try:
        return tuple(end_domains(claim, connection))
    finally:
        connection.close()

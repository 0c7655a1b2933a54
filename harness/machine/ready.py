"""From a spec to a running machine: the ready state is found or made, then restored."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError, InfrastructureError, MachineError
from harness.host import locks
from harness.machine.machine import LibvirtMachine
from harness.machine.overlay import OVERLAY_SPACE, require_space, set_backing
from harness.machine.protocol import Machine
from harness.machine.runfolder import RunFolder
from harness.machine.savedstate import DISK, MEMORY, ReadyState, seal
from harness.machine.spec import Spec

WaitReady = Callable[[Machine, Deadline], Mapping[str, str] | None]
"""Blocks until the guest of a booting machine answers completely (an HTTPS answer, not an open port).

Returns facts about the guest to keep with the saved state, if any. Raises `BootError` or `DeadlineError`.
"""


def ready_state(
    spec: Spec,
    folder: RunFolder,
    wait_ready: WaitReady,
    deadline: Deadline,
    refused: ReadyState | None = None,
) -> ReadyState:
    """The ready state of `spec`: found, or made by a cold boot in `folder` (several processes: one makes it).

    A state that is incomplete is made again.

    Args:
        refused: a state that QEMU did not restore; it is kept until a new one replaces it.

    Raises:
        BootError: the guest did not become ready; `detail` holds the console tail.
        MachineError: libvirt or QEMU refused.
        HostError: not enough disk space.
        DeadlineError: the deadline passed, maybe while another process was making it.
    """
    key = spec.ready_key(folder.connection.versions())
    found = ReadyState.find(spec.image, key)
    if found and found != refused:
        return found
    with _image_lock(spec.image, key, deadline):
        found = ReadyState.find(spec.image, key)
        if found and found != refused:  # made by another process while this one waited
            return found
        _remove_drafts(spec.image, key)
        return _make(spec, folder, key, wait_ready, deadline)


def launch(
    spec: Spec, folder: RunFolder, wait_ready: WaitReady, boot: Deadline, restore: Deadline
) -> tuple[LibvirtMachine, ReadyState]:
    """A machine restored from its ready state; a state that QEMU refuses is made anew, once.

    The state may be damaged, or saved by another build of QEMU with the same version number.

    Args:
        boot: for finding or making the ready state.
        restore: for one restore.

    Raises:
        Those of `ready_state`.
    """
    ready = ready_state(spec, folder, wait_ready, boot)
    machine = LibvirtMachine(folder, spec, ready)
    try:
        machine.start(restore)
    except MachineError:
        machine.destroy()
    except BaseException:
        machine.destroy()
        raise
    else:
        return machine, ready
    ready = ready_state(spec, folder, wait_ready, boot, refused=ready)
    machine = LibvirtMachine(folder, spec, ready)
    try:
        machine.start(Deadline.after(restore.seconds))
    except BaseException:
        machine.destroy()
        raise
    return machine, ready


def _make(spec: Spec, folder: RunFolder, key: str, wait_ready: WaitReady, deadline: Deadline) -> ReadyState:
    memory_size = spec.profile.hardware.memory_mib * 2**20
    require_space(spec.image, memory_size + OVERLAY_SPACE, "saving the ready state")
    draft = spec.image / f".ready-{key}-{secrets.token_hex(3)}"
    try:
        draft.mkdir(mode=0o700)
    except OSError as error:
        raise ImageError(f"Image folder {spec.image} cannot be written to: {error.strerror}.") from error
    try:
        with LibvirtMachine(folder, spec, None) as machine:
            machine.start(deadline)
            try:
                facts = wait_ready(machine, deadline) or {}
            except InfrastructureError as error:
                error.detail = error.detail or machine.log_tail()
                raise
            machine.save(draft / MEMORY, draft / DISK, deadline)
        set_backing(draft / DISK, f"../{spec.base.name}", deadline)
        return seal(draft, spec.image, key, facts)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _remove_drafts(image: Path, key: str) -> None:
    """Removes the drafts of killed processes; under the caller's lock no draft is in use."""
    for draft in image.glob(f".ready-{key}-*"):
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def _image_lock(image: Path, key: str, deadline: Deadline) -> Iterator[None]:
    try:
        lock = locks.opened(image / f".lock-{key}")
    except OSError as error:
        raise ImageError(f"Image folder {image} cannot be written to: {error.strerror}.") from error
    try:
        if not locks.take_by(lock, deadline):
            deadline.check("Another process, which is making the ready state,")
        yield
    finally:
        os.close(lock)

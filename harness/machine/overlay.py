"""qcow2 overlays, to which a run's writes go: the image never changes. Also the check for disk space."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import BUILD_AGAIN, HostError, ImageError, MachineError
from harness.host import programs

QCOW2_MAGIC = b"QFI\xfb"

OVERLAY_SPACE = 512 * 2**20
"""Bytes that a machine's overlay may grow to; a run of the whole suite writes less than half of it."""


def create_overlay(overlay: Path, backing: Path, deadline: Deadline) -> None:
    """Makes an empty overlay over `backing` (20 ms, 197 KiB).

    Raises:
        ImageError: `backing` is missing or is not qcow2.
        HostError: qemu-img is missing, or the disk is full.
    """
    try:
        with backing.open("rb") as file:
            magic = file.read(len(QCOW2_MAGIC))
    except OSError as error:
        raise ImageError(
            f"Disk image {backing} cannot be read: {error.strerror}.", remedy=BUILD_AGAIN
        ) from error
    if magic != QCOW2_MAGIC:
        raise ImageError(f"Disk image {backing} is not qcow2.", remedy=BUILD_AGAIN)
    require_space(overlay.parent, OVERLAY_SPACE, "the disk overlay of a machine")
    _qemu_img(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", str(backing), str(overlay)], deadline)


def create_empty(disk: Path, size: int, deadline: Deadline) -> None:
    """Makes an empty disk of `size` bytes, sparse, to install onto.

    Raises:
        HostError: qemu-img is missing, or the disk is full.
    """
    require_space(disk.parent, OVERLAY_SPACE, "the disk of a machine")
    _qemu_img(["create", "-q", "-f", "qcow2", str(disk), str(size)], deadline)


def flatten(overlay: Path, target: Path, deadline: Deadline) -> None:
    """Copies an overlay and all below it into one new file, without unused clusters.

    Raises:
        HostError: qemu-img is missing.
        MachineError: the disk is full, or a file of the chain cannot be read.
        DeadlineError: it was not copied in time.
    """
    _qemu_img(["convert", "-q", "-f", "qcow2", "-O", "qcow2", str(overlay), str(target)], deadline)


def set_backing(overlay: Path, backing: str, deadline: Deadline) -> None:
    """Changes the recorded backing file, not the data; a relative name is relative to `overlay`."""
    _qemu_img(["rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", backing, str(overlay)], deadline)


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raises `HostError` unless `needed` bytes are free where `folder` is."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise HostError(
            f"{folder} has {free // 2**20} MiB free; {what} needs {needed // 2**20} MiB.",
            remedy="Free some space, or set WINVM_HOME to a folder on a larger disk.",
        )


def _qemu_img(arguments: list[str], deadline: Deadline) -> None:
    done = programs.run(["qemu-img", *arguments], deadline)
    if done.code:
        raise MachineError(
            f"qemu-img {arguments[0]} {arguments[-1]} failed with exit code {done.code}.", detail=done.said
        )

"""Writes a folder tree to a read-only qcow2 without mounting anything, and checks the disk space for that."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from harness.errors import HostError
from harness.images.contained import Toolbox

BUILD_BYTES = 4 << 30
"""Measured peak of a build is 2.3 GB: unpacked packages, raw file system, qcow2."""


def check_space(
    folder: Path, free: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free
) -> None:
    """Raises `HostError` when `folder`'s file system cannot take a build."""
    available = free(folder)
    if available < BUILD_BYTES:
        raise HostError(
            f"{folder} has {available / 1e9:.1f} GB free; an image build takes {BUILD_BYTES / 1e9:.1f} GB.",
            remedy="Free some space, or put the bench elsewhere: WINVM_HOME=/some/folder.",
        )


def write_disk(root: Path, disk: Path, size_mib: int, tools: Toolbox) -> None:
    """Writes `root` as one ext4 file system of `size_mib` (sparse) to the qcow2 `disk`, mode 0400.

    No journal: the disk is thrown away after each run, never recovered.
    """
    raw = disk.with_suffix(".raw")
    with raw.open("wb") as file:
        os.truncate(file.fileno(), size_mib << 20)
    options = "lazy_itable_init=1,nodiscard"
    tools.run(
        ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-E", options, "-d", str(root), str(raw)]
    )
    tools.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)])
    raw.unlink()
    disk.chmod(0o400)  # it holds the image's secrets

"""Removes a run folder even while libvirt still writes to it; removes its lock file last."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HostError

LOCK = "lock"
REMOVAL_SECONDS = 20.0
"""libvirt's threads may still write below its root when its connection is closed: 0.1 s on a busy machine."""
_REMOVAL_POLL_SECONDS = 0.05


def remove_tree(folder: Path, seconds: float = REMOVAL_SECONDS) -> None:
    """Removes a run folder, its lock file last: a removal that is cut short is found again as a leftover.

    What appears in it meanwhile is removed as well, for `seconds`.

    Raises:
        HostError: something in it cannot be removed, or appears again and again; the lock file stays.
    """
    refused: OSError | None = None
    for _ in Deadline.after(seconds).tries(every=_REMOVAL_POLL_SECONDS):
        try:
            _remove_content(folder)
        except OSError as error:  # also FileNotFoundError: removed by libvirt between listing and removal
            refused = error
        else:
            return
    raise HostError(
        f"Run folder {folder} cannot be removed: {refused}.",
        remedy="End the program that still writes to it; the next run then removes the folder.",
    ) from refused


def _remove_content(folder: Path) -> None:
    if not folder.is_dir():
        return
    for child in folder.iterdir():
        if child.is_dir() and not child.is_symlink():
            shutil.rmtree(child)
        elif child.name != LOCK:
            child.unlink(missing_ok=True)
    # The lock file is removed only when it is the last entry.
    if any(child.name != LOCK for child in folder.iterdir()):
        raise OSError(errno.ENOTEMPTY, "Directory not empty", str(folder))
    (folder / LOCK).unlink(missing_ok=True)
    folder.rmdir()

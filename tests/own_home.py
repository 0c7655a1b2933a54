"""A WINVM_HOME for one test, without the user's guests and runs; images are shared."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.machine.leftovers import remove_leftovers
from harness.project import config


@contextmanager
def own_home() -> Iterator[Path]:
    """The folder for WINVM_HOME; what runs have left in it is ended and removed."""
    home = Path(tempfile.mkdtemp(prefix="wvh-"))  # short: libvirt's socket paths have 107 bytes
    shared = config.home()
    for name in ("images", "downloads"):
        (shared / name).mkdir(parents=True, exist_ok=True)
        (home / name).symlink_to(shared / name)
    # What earlier runs found out about the host, in some seconds.
    if (shared / "accelerator.json").is_file():
        shutil.copy(shared / "accelerator.json", home)
    if (shared / "libvirt-cache").is_dir():
        shutil.copytree(shared / "libvirt-cache", home / "libvirt-cache")
    try:
        yield home
    finally:
        remove_leftovers(home / "runs")
        shutil.rmtree(home, ignore_errors=True)

"""Files made under sudo belong to the user who called it: they are handed over when the process ends."""

from __future__ import annotations

import atexit
import contextlib
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_folders: dict[Path, tuple[str, ...]] = {}


@dataclass(frozen=True)
class User:
    """The user behind a sudo: ids and home folder."""

    uid: int
    gid: int
    home: Path


def invoking_user(environment: Mapping[str, str] = os.environ, own: int | None = None) -> User | None:
    """The user who called sudo, by SUDO_UID; None without sudo, and for one who was root already."""
    if (os.geteuid() if own is None else own) != 0:
        return None
    try:
        uid = int(environment.get("SUDO_UID", ""))
        entry = pwd.getpwuid(uid)
    except (ValueError, KeyError, OverflowError):
        return None
    return User(uid, entry.pw_gid, Path(entry.pw_dir)) if uid else None


def belongs_to_user(folder: Path, *except_below: str) -> Path:
    """Gives what root owns in a folder to the invoking user when this process ends.

    Args:
        except_below: names in the folder whose own content is left alone.
    """
    if invoking_user():
        if not _folders:
            atexit.register(_give_all)
        _folders[folder] = except_below
    return folder


def give(folder: Path, user: User, except_below: tuple[str, ...] = ()) -> None:
    """Gives what root owns in a folder, and the folder itself, to a user; follows no link; never raises."""
    with contextlib.suppress(OSError):
        _give(folder, user, None)
    for place, names, files, descriptor in os.fwalk(folder, follow_symlinks=False, onerror=None):
        for name in (*names, *files):
            with contextlib.suppress(OSError):
                _give(Path(name), user, descriptor)
        if Path(place) == folder:
            names[:] = [name for name in names if name not in except_below]


def _give(path: Path, user: User, folder: int | None) -> None:
    if os.stat(path, dir_fd=folder, follow_symlinks=False).st_uid == 0:
        os.chown(path, user.uid, user.gid, dir_fd=folder, follow_symlinks=False)


def _give_all() -> None:
    if user := invoking_user():
        for folder, except_below in _folders.items():
            give(folder, user, except_below)

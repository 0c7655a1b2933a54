"""Paths in the guest's own spelling: Windows ignores the case of names, the SFTP server may not."""

from __future__ import annotations

import contextlib
import posixpath
from pathlib import PurePosixPath

import paramiko
from paramiko.sftp_attr import SFTPAttributes

from harness.errors import TransportError

NAMES_LIMIT = 50_000
"""Names of one folder that are compared; Windows' largest folders have some thousands."""


def existing_case(sftp: paramiko.SFTPClient, path: str, *, make_folders: bool = False) -> str:
    """`path` in the spelling that exists in the guest.

    Parts that do not exist keep their spelling; their folders are made with `make_folders`.

    Raises:
        TransportError: a folder has too many names.
    """
    folder = posixpath.dirname(path)
    with contextlib.suppress(FileNotFoundError):
        if make_folders:
            sftp.stat(folder)  # the usual case, in one round trip; the file itself is replaced or made
        else:
            sftp.stat(path)
        return path
    spelled = "/"
    parts = PurePosixPath(path).parts[1:]
    for number, part in enumerate(parts, 1):
        candidate = posixpath.join(spelled, part)
        if _stat(sftp, candidate) is None:
            found = _name_like(sftp, spelled, part)
            if found is not None:
                candidate = posixpath.join(spelled, found)
            elif number < len(parts) and make_folders:
                sftp.mkdir(candidate, 0o755)
            else:
                return posixpath.join(spelled, *parts[number - 1 :])
        spelled = candidate
    return spelled


def _name_like(sftp: paramiko.SFTPClient, folder: str, wanted: str) -> str | None:
    """The name in a folder that differs from `wanted` in case only."""
    for number, entry in enumerate(sftp.listdir_iter(folder, read_aheads=1)):
        if number >= NAMES_LIMIT:
            raise TransportError(f"The guest's folder {folder} has more than {NAMES_LIMIT} names.")
        if entry.filename.casefold() == wanted.casefold() and "/" not in entry.filename:
            return str(entry.filename)
    return None


def _stat(sftp: paramiko.SFTPClient, path: str) -> SFTPAttributes | None:
    try:
        return sftp.stat(path)
    except FileNotFoundError:
        return None

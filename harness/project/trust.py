"""Decides which winvm.toml is trusted: the file names commands that run as this user.

The rules are those of git's safe.directory: a file that was not named, but found, must be this user's.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

from harness.errors import ConfigurationError

VARIABLE = "WINVM_TRUST"
"""Folders, separated by `:`, whose winvm.toml is trusted whoever owns it; `*` for all."""
PROGRAM_PARAMETERS = frozenset({"command", "netcat"})
"""Parameters of libvirt's remote URIs that name a program, here and on the other host (libvirt: remote)."""


def require_trusted(file: Path) -> None:
    """Raises `ConfigurationError` if another user wrote the file, or can replace it."""
    named = os.environ.get(VARIABLE, "").split(":")
    if "*" in named or any(name and Path(name).resolve() == file.resolve().parent for name in named):
        return
    try:
        found, folder = file.stat(), file.resolve().parent.stat()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}.") from error
    if found.st_uid not in _own_users():
        reason = f"it belongs to user id {found.st_uid}, not to {os.geteuid()}"
    elif found.st_mode & stat.S_IWOTH:
        reason = "everybody can write to it"
    elif folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        reason = f"everybody can write into {file.parent}"
    else:
        return
    raise ConfigurationError(
        f"{file} is not used: {reason}, and it names commands that would run as you.",
        remedy=f"Read it; then name it by --config {file}, or set {VARIABLE}={file.parent}.",
    )


def _own_users() -> set[int]:
    """This user, root, and the user who called sudo."""
    users = {os.geteuid(), 0}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdecimal():
        users.add(int(os.environ["SUDO_UID"]))
    return users


def runs_no_program(uri: str) -> str:
    """A libvirt URI as a file may have it. Raises `ValueError` for one that names a program."""
    query = urlsplit(uri).query.replace(";", "&")  # libvirt takes either between parameters
    found = {name.lower() for name, _ in parse_qsl(query, keep_blank_values=True)}
    if wrong := sorted(found & PROGRAM_PARAMETERS):
        raise ValueError(
            f"a file may not give {wrong[0]}= in a libvirt URI, which names a program;"
            " set it up in ~/.ssh/config, or give the URI by --libvirt-uri"
        )
    return uri

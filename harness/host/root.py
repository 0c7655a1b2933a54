"""Checks for root before any work is done."""

from __future__ import annotations

import os

from harness.errors import HostError


def require_root(what: str) -> None:
    """Raises `HostError` naming `what` unless this process runs as root."""
    user = os.geteuid()
    if user != 0:
        raise HostError(
            f"{what} needs root; this is user id {user}.", remedy="Run the same command with sudo."
        )

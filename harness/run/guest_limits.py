"""Limits of the guest that make a right driver look wrong: in a crash, a missing line, a failing unload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.guests.protocol import CrashLimit, KnowsLimits
from harness.run.guest_session import GuestSession


def crash_limit(session: GuestSession, analysis: Mapping[str, Any]) -> CrashLimit | None:
    """Which limit of the guest made the driver crash, or may have; None if there is no sign of one.

    Args:
        analysis: content of the crash's analysis.json.
    """
    guest, driver = session.flavour, session.driver_file
    return guest.crash_limit(analysis, driver) if isinstance(guest, KnowsLimits) and driver else None


def missing_line_limit(session: GuestSession) -> str:
    """Which limit of the guest may be why a line of the driver is missing; empty if none is known."""
    guest, driver = session.flavour, session.driver_file
    return guest.missing_line_limit(driver) if isinstance(guest, KnowsLimits) and driver else ""


def unload_limit(session: GuestSession) -> str:
    """Which limit of the guest is why the driver does not unload; empty if none is known."""
    guest, driver = session.flavour, session.driver_file
    return guest.unload_limit(driver) if isinstance(guest, KnowsLimits) and driver else ""

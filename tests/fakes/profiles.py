"""Profiles of Windows guests, typed as such."""

from __future__ import annotations

from pathlib import Path

from harness.guests.windows.spec.profile import WindowsProfile
from harness.project.profiles import find_profile


def windows_profile(name: str, project: Path | None = None) -> WindowsProfile:
    """The profile of that name; raises `ConfigurationError` if it is not one of a Windows guest."""
    return WindowsProfile.checked(find_profile(name, project))

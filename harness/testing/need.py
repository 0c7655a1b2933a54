"""Which tests of a pytest session use the guest."""

from __future__ import annotations

import pytest

NEED_GUEST = {"winvm_scenario", "winvm_bench"}
"""Fixtures that use the guest, directly or for other fixtures."""


def needs_guest(item: pytest.Item) -> bool:
    """Whether an item uses winvm's own fixtures: another plugin or project may have some of these names."""
    info = getattr(item, "_fixtureinfo", None)
    found = (info.name2fixturedefs.get(name, ()) for name in NEED_GUEST) if info else ()
    return any(
        definitions and definitions[-1].func.__module__.startswith("harness.") for definitions in found
    )

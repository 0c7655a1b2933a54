"""What can become of a driver project, in the words of the list, the record and the output."""

from __future__ import annotations

FAILS = "fails"
"""It does not compile or link."""
REFUSED = "refused"
"""winvm refuses it before a guest boots."""
BUILDS = "builds"
"""It compiles, links and passes the static check."""
LOADS = "loads"
"""DriverEntry returns success in the guest."""
NOT_LOADED = "not-loaded"
"""The guest refuses it, or DriverEntry returns an error, which the reason names."""
NOT_SHOWN = "not-shown"
"""It needs something that this guest does not have, which the reason names."""
CRASHES = "crashes"
"""It takes the guest down while it is loaded; the reason names the fault."""
AFTER_BUILD = (LOADS, NOT_LOADED, NOT_SHOWN, CRASHES)
"""Of a project that builds, once it is loaded."""
RIGHT = (LOADS, REFUSED, NOT_SHOWN)
"""Loaded, or turned away for what the guest lacks. Another result is right if the list expects it."""

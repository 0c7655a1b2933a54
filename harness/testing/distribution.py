"""pytest-xdist: a run has one guest and one set of results, so its tests are not spread over workers.

Only workers collect. A worker that finds a test for the guest runs nothing and tells the controller, which
ends the session with a remedy. Tests that need no guest may be spread over workers.
"""

from __future__ import annotations

import pytest

from harness.errors import ConfigurationError
from harness.testing.ending import leave
from harness.testing.need import needs_guest
from harness.testing.session import Session

FOUND = "winvm_guest_needed"
"""Key in a worker's last message to its controller."""


class Worker:
    """Hooks of a worker."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Removes all items if a test needs the guest, or would if winvm.toml were usable."""
        if self._session.unusable or any(map(needs_guest, items)):
            self._session.unusable = None
            config.workeroutput[FOUND] = True  # type: ignore[attr-defined]  # pytest-xdist adds it
            items.clear()


class Controller:
    """Hooks of the controller; in a session without workers they do nothing."""

    def __init__(self) -> None:
        self._found = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Reads a worker's last message."""
        self._found |= bool(getattr(node, "workeroutput", {}).get(FOUND))

    def pytest_sessionfinish(self) -> None:
        """Ends a session that would have needed several guests, with exit code 2."""
        if self._found:
            leave(
                ConfigurationError(
                    "pytest-xdist (-n) would spread tests over several processes, but they share one guest.",
                    remedy="Leave -n out, or use -n 0; run only tests that need no guest with -n.",
                )
            )

"""pytest-xdist: a run has one guest and one set of results, so its tests are not spread over workers.

Only workers collect. One that finds a test for the guest runs nothing and says so to the controller, which
ends the session with the remedy. Tests that need no guest may be spread as ever.
"""

from __future__ import annotations

import pytest

from harness.errors import ConfigurationError
from harness.testing.session import Session, leave, needs_guest

FOUND = "winvm_guest_needed"
"""Key in a worker's last message to its controller."""


class Worker:
    """Hooks of a worker."""

    def __init__(self, session: Session) -> None:
        self._session = session

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Leaves nothing to run where a test needs the guest, or would if winvm.toml could be used."""
        if self._session.unusable or any(map(needs_guest, items)):
            self._session.unusable = None
            config.workeroutput[FOUND] = True  # type: ignore[attr-defined]  # pytest-xdist adds it
            items.clear()


class Controller:
    """Hooks of the controller, or of a session without workers, where none of them does anything."""

    def __init__(self) -> None:
        self._found = False

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: object) -> None:
        """Hears what a worker said last."""
        self._found |= bool(getattr(node, "workeroutput", {}).get(FOUND))

    def pytest_sessionfinish(self) -> None:
        """Ends a session that would have needed several guests, with exit code 2."""
        if self._found:
            leave(
                ConfigurationError(
                    "pytest-xdist (-n) would spread tests over several processes, but they share one guest.",
                    remedy="Leave -n out, or say -n 0; run tests that need no guest by themselves with -n.",
                )
            )

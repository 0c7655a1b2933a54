"""Keeps what the driver's counters count, under a scenario's name or under loading and unloading."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from harness.agent.protocol import Finished, Loaded, Unloaded
from harness.bundle.payload import Payload
from harness.bundle.write import LOADED, UNLOADED
from harness.coverage.collected import Collected
from harness.coverage.crashed import crash_counters
from harness.coverage.image import coverage_image
from harness.run.lifecycle import UNLOAD
from harness.toolchain.instrument import Instrument

LOAD = "driver.load"
"""Stands beside the scenarios for what DriverEntry ran, as `UNLOAD` does for DriverUnload."""

NOT_KNOWN = "the lines it ran before its end are not known: the crash left no dump with the counters"


class Counting:
    """The counters of a run.

    Args:
        payload: its drivers.
        build: which of them was loaded last.

    Attributes:
        collected: None for drivers that were not built for coverage.

    Raises:
        BuildError: a driver that was built for coverage has no counters.
    """

    def __init__(self, payload: Payload, build: Callable[[], str]) -> None:
        self._build = build
        self.collected: Collected | None = None
        if Instrument.COVERAGE in payload.instruments:
            self.collected = Collected({name: coverage_image(path) for name, path in payload.drivers.items()})

    def take(self, answer: Loaded | Unloaded | Finished) -> None:
        """Adds the counters of an answer of the agent."""
        if self.collected is None:
            return
        if isinstance(answer, Finished):
            name = answer.scenario
        else:
            name = LOAD if isinstance(answer, Loaded) else UNLOAD
        loaded = isinstance(answer, Loaded)
        self.collected.add(self._build(), name, answer.counters, answer.trouble, loaded=loaded)

    def crashed(self, scenario: str, folder: Path) -> None:
        """Adds what the driver had counted when it crashed. folder: the crash's evidence."""
        if self.collected is None or (image := self.collected.images.get(self._build())) is None:
            return
        name = {LOADED: LOAD, UNLOADED: UNLOAD}.get(scenario, scenario)
        counters = crash_counters(folder, image)
        if counters is None:
            self.collected.missing(name, NOT_KNOWN)
        else:
            self.collected.add_crash(self._build(), name, counters)

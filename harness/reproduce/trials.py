"""Tries sequences of operations in a guest: does this one crash the driver as the bundle's crash did?

A trial that crashes costs a restore. One that does not leaves the guest to the next trial, with the driver
loaded anew; what it may have done to the rest of the kernel stays, so that the last word has a fresh guest.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from harness.dumps.signature import recurs
from harness.errors import DriverLoadError, InfrastructureError
from harness.outcome import Scenario
from harness.reproduce.operations import Operation, sendable
from harness.run.bench import Bench

LINGER_S = 2.0
SHORT_DEADLINE_S = 10.0
"""For sequences that crash at once: one that blocks without its other half need not be waited for long."""


class Trials:
    """Trials of one scenario's operations.

    Attributes:
        count: trials so far.
        fresh: restore the guest before each.
    """

    def __init__(self, bench: Bench, scenario: Scenario, signature: str) -> None:
        self.count = 0
        self.fresh = False
        self._bench = bench
        self._scenario = scenario
        self._signature = signature
        self._linger_s = 0.0

    def settle(self, operations: Sequence[Operation]) -> bool:
        """Whether the whole sequence crashes the driver so: at once, or else some time after the last one."""
        for self._linger_s in (0.0, LINGER_S):
            if self.afresh(operations):
                if not self._signature.startswith("hang-"):
                    limit = min(self._scenario.deadline_s, self._linger_s + SHORT_DEADLINE_S)
                    self._scenario = dataclasses.replace(self._scenario, deadline_s=limit)
                return True
        return False

    def afresh(self, operations: Sequence[Operation]) -> bool:
        """One trial in a restored guest."""
        self._bench.guest.restore()
        return self._crash(operations)

    def crashes(self, operations: Sequence[Operation]) -> bool:
        """One trial."""
        if self.fresh:
            return self.afresh(operations)
        try:
            self._bench.unload()
        except (DriverLoadError, InfrastructureError):  # an earlier trial left it so
            self._bench.guest.restore()
        return self._crash(operations)

    def _crash(self, operations: Sequence[Operation]) -> bool:
        self.count += 1
        result = self._bench.run(self._scenario, operations=sendable(operations), linger_s=self._linger_s)
        return result.crash is not None and recurs(self._signature, result.crash.signature)

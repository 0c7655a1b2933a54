"""Tries sequences of operations in a guest: does a sequence crash the driver with the bundle's signature?

A trial that crashes costs a restore. After any other trial, the next one uses the same guest with the driver
reloaded. Changes to the rest of the kernel remain, so the final decision needs a fresh guest.
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
"""For sequences that crash at once: an operation that blocks without its counterpart must not cost much."""


class Trials:
    """Trials of one scenario's operations.

    Attributes:
        count: trials so far.
        fresh: restore the guest before each trial.
    """

    def __init__(self, bench: Bench, scenario: Scenario, signature: str) -> None:
        self.count = 0
        self.fresh = False
        self._bench = bench
        self._scenario = scenario
        self._signature = signature
        self._linger_s = 0.0

    def settle(self, operations: Sequence[Operation]) -> bool:
        """Whether the whole sequence reproduces the crash: at once, or some time after its last operation."""
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
        except (DriverLoadError, InfrastructureError):  # the damage of an earlier trial
            self._bench.guest.restore()
        return self._crash(operations)

    def _crash(self, operations: Sequence[Operation]) -> bool:
        self.count += 1
        result = self._bench.run(self._scenario, operations=sendable(operations), linger_s=self._linger_s)
        return result.crash is not None and recurs(self._signature, result.crash.signature)

"""The scenario's deadline: one point in monotonic time, at which every wait of the scenario ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Deadline:
    """A point in monotonic time, in seconds of `clock`."""

    at: float
    clock: Callable[[], float] = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """A deadline `seconds` from now."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        """Whether the point in time has passed."""
        return self.clock() >= self.at

    def seconds(self, timeout_s: float | None) -> float:
        """Seconds that a wait may take: `timeout_s` or the time that is left, whichever is less."""
        left = self.remaining()
        return left if timeout_s is None else min(timeout_s, left)

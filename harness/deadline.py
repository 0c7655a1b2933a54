"""Monotonic deadlines. A deadline is made once, at the top, and handed down; nobody adds time on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from harness.errors import DeadlineError

Clock = Callable[[], float]


@dataclass(frozen=True)
class Deadline:
    """A point in monotonic time, in seconds of `clock`.

    Example:
        >>> Deadline.after(5.0).remaining() <= 5.0
        True
    """

    at: float
    seconds: float
    clock: Clock = field(default=time.monotonic, repr=False, compare=False)

    @classmethod
    def after(cls, seconds: float, clock: Clock = time.monotonic) -> Deadline:
        """A deadline `seconds` from now."""
        return cls(clock() + seconds, seconds, clock)

    def remaining(self) -> float:
        """Seconds left, never below 0."""
        return max(0.0, self.at - self.clock())

    @property
    def expired(self) -> bool:
        """Whether the point in time has passed."""
        return self.clock() >= self.at

    def at_most(self, seconds: float) -> Deadline:
        """The earlier of this deadline and one `seconds` from now: for a step inside a longer operation."""
        return min(self, Deadline.after(seconds, self.clock), key=lambda d: d.at)

    def paused(self, seconds: float) -> Deadline:
        """This deadline after `seconds` that do not count, because a person was thinking."""
        return Deadline(self.at + seconds, self.seconds, self.clock)

    def tries(self, every: float, pause: Callable[[float], None] = time.sleep) -> Iterator[int]:
        """Numbers of tries: one at once, then one `every` seconds, the last when the deadline has passed.

        The caller leaves the loop when it has what it waits for. The code after the loop, or its `else`,
        handles a deadline that has passed.

        Example:
            >>> list(Deadline.after(0.0).tries(every=1.0))
            [1]
        """
        number = 1
        while True:
            yield number
            if self.expired:
                return
            pause(min(every, self.remaining()))
            number += 1

    def check(self, what: str, remedy: str = "") -> None:
        """Raises `DeadlineError` naming `what` once the deadline has passed."""
        if self.expired:
            raise DeadlineError(f"{what} did not finish within {self.seconds:g} s.", remedy=remedy)

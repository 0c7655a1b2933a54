"""The verdict of one smoke run: a line and an exit code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.outcome import Outcome, exit_code

ORDER = (
    Outcome.CRASHED,
    Outcome.HUNG,
    Outcome.LOST,
    Outcome.ERROR,
    Outcome.FAILED,
    Outcome.DIFFERS,
    Outcome.PASSED,
    Outcome.SKIPPED,
)


@dataclass(frozen=True)
class SmokeVerdict:
    """One finished smoke run.

    Attributes:
        counts: results by outcome.
        seconds: from the invocation, or the save, to the verdict.
        driver: SHA-256 (hex) of each driver build that was deployed, by name.
        warm: whether an earlier invocation's guest was used.
    """

    counts: Mapping[Outcome, int]
    seconds: float
    driver: Mapping[str, str]
    warm: bool

    @property
    def line(self) -> str:
        """`smoke: 22 passed in 2.1 s (driver 0a1b2c, warm)`."""
        results = ", ".join(
            f"{self.counts[outcome]} {outcome}" for outcome in ORDER if self.counts.get(outcome)
        )
        drivers = " ".join(
            digest[:6] if number == 0 else f"{build} {digest[:6]}"
            for number, (build, digest) in enumerate(self.driver.items())
        )
        guest = "warm" if self.warm else "new guest"
        return f"smoke: {results} in {self.seconds:.1f} s (driver {drivers}, {guest})"

    @property
    def exit_code(self) -> int:
        """Exit codes are those of `winvm run`."""
        return exit_code(self.counts)

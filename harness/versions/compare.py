"""Two versions of a driver, tried in turns: outcomes, debug output and durations of the same scenarios.

Turns (A, B, B, A, ...) spread what the host does meanwhile over both. Durations are the agent's, in pairs of
one round. Their difference is tested by the exact sign-flip test: if the versions take equal time, each
round's difference is as likely with the other sign.

Source of the test: R. A. Fisher, The Design of Experiments, section 21.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import unified_diff
from itertools import product
from statistics import median

from harness.outcome import Outcome, ScenarioResult
from harness.versions.trial import Trial

LEVEL = 0.05
"""Probability, by chance alone, below which a difference is called one."""
EXACT_ROUNDS = 14
"""Rounds up to which all 2**n signs are tried; of more rounds, the newest count."""
SHOWN_LINES = 40
_VARYING = re.compile(r"0x[0-9A-Fa-f]+|\b[0-9A-Fa-f]{8,16}\b|\b\d+\b")


@dataclass(frozen=True)
class Side:
    """One scenario in one version: outcomes by round; seconds of the rounds in which both passed."""

    outcomes: tuple[Outcome, ...]
    seconds: tuple[float, ...]
    printed: tuple[str, ...]

    @property
    def median(self) -> float:
        """Median seconds in the guest; 0 where there are none."""
        return median(self.seconds) if self.seconds else 0.0


@dataclass(frozen=True)
class Compared:
    """A scenario in both versions.

    Attributes:
        probability: of such a difference in time by chance, 0 to 1; None where no round has both.
        lines: differences of the debug output, as a unified diff without head; numbers are not compared.
    """

    name: str
    first: Side
    second: Side
    probability: float | None
    lines: tuple[str, ...]

    @property
    def other_outcome(self) -> bool:
        """Whether the versions differ in how often the scenario passes."""
        return sorted(self.first.outcomes) != sorted(self.second.outcomes)

    @property
    def other_time(self) -> bool:
        """Whether the difference in time is one, by `LEVEL`."""
        return self.probability is not None and self.probability < LEVEL

    @property
    def factor(self) -> float:
        """Median of the second over that of the first; 1 where either has none."""
        return self.second.median / self.first.median if self.first.median and self.second.median else 1.0


@dataclass(frozen=True)
class Comparison:
    """All scenarios of both versions; `only`: (scenario, whether in the first) of those that one lacks."""

    scenarios: tuple[Compared, ...]
    only: tuple[tuple[str, bool], ...]


def take_turns(
    rounds: int, first: Callable[[], Trial], second: Callable[[], Trial]
) -> tuple[list[Trial], list[Trial]]:
    """Tries both versions `rounds` times, and begins each round with the one that came last.

    Ends early where a version cannot be tried at all.

    Raises:
        HostError: see `trial.attempt`.
    """
    found: tuple[list[Trial], list[Trial]] = ([], [])
    versions = ((found[0], first), (found[1], second))
    for number in range(rounds):
        for trials, version in versions if number % 2 == 0 else reversed(versions):
            trials.append(version())
            if trials[-1].unusable or (trials[-1].refused and not trials[-1].results):
                return found
    return found


def compare(first: Sequence[Trial], second: Sequence[Trial]) -> Comparison:
    """Compares the trials of both versions, round by round."""
    sides = [
        [{_plain(one.name): one for one in trial.results} for trial in trials] for trials in (first, second)
    ]
    names = [list(dict.fromkeys(name for one in side for name in one)) for side in sides]
    both = [name for name in names[0] if name in names[1]]
    only = [(name, True) for name in names[0] if name not in both]
    only += [(name, False) for name in names[1] if name not in both]
    return Comparison(tuple(_compared(name, *sides) for name in both), tuple(only))


def _plain(name: str) -> str:
    """A scenario's name without the build that it ran against."""
    return name.partition("@")[0]


def _compared(
    name: str, first: Sequence[dict[str, ScenarioResult]], second: Sequence[dict[str, ScenarioResult]]
) -> Compared:
    pairs = [
        (one[name].guest_seconds, other[name].guest_seconds)
        for one, other in zip(first, second, strict=False)
        if all(name in side and side[name].outcome is Outcome.PASSED for side in (one, other))
    ]
    sides = [
        Side(
            tuple(one[name].outcome for one in rounds if name in one),
            tuple(pair[number] for pair in pairs),
            _printed([one[name] for one in rounds if name in one][-1]),
        )
        for number, rounds in enumerate((first, second))
    ]
    probability = sign_flip([other - one for one, other in pairs]) if pairs else None
    return Compared(name, sides[0], sides[1], probability, _difference(sides[0].printed, sides[1].printed))


def sign_flip(differences: Sequence[float]) -> float:
    """The two-sided probability of a sum as far from zero as this one, if every sign were a coin's."""
    differences = differences[-EXACT_ROUNDS:]
    seen = abs(sum(differences)) * (1 - 1e-9)
    sums = (
        sum(sign * value for sign, value in zip(signs, differences, strict=True))
        for signs in product((1, -1), repeat=len(differences))
    )
    return sum(abs(one) >= seen for one in sums) / float(2 ** len(differences))


def _printed(result: ScenarioResult) -> tuple[str, ...]:
    return tuple(record.text for record in result.dbgprint if record.source == "dbgprint")


def _difference(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    """Lines that only one of both printed; addresses, handles and other numbers differ from run to run."""
    plain = [[_VARYING.sub("#", line) for line in lines] for lines in (first, second)]
    lines = list(unified_diff(plain[0], plain[1], n=0, lineterm=""))[2:]
    return tuple(line for line in lines if not line.startswith("@@"))[:SHOWN_LINES]

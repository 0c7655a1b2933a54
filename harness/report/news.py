"""Compares two states of the same scenarios: what is new, fixed, flaky, slower.

A state is what is known of one cell (guest, driver builds, labels) at one time; `history` makes states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from harness.outcome import Outcome
from harness.report.digest import BAD

SLOWER_FACTOR = 2.0
SLOWER_S = 0.5
"""A scenario is slower when it takes twice as long, and half a second more: hosts are noisy."""


@dataclass(frozen=True)
class ScenarioState:
    """The last outcome of a scenario.

    Attributes:
        seconds: time in the guest, the median of its newest passes; 0 if it never passed.
        flaky: with the same driver code it passed and failed in one run, or passed again after a failure.
    """

    outcome: Outcome
    seconds: float = 0.0
    flaky: bool = False


@dataclass(frozen=True)
class CrashState:
    """A crash that a scenario did not expect.

    Attributes:
        scenarios: those that crashed so.
        open: whether the crash happened when one of them last ran.
    """

    scenarios: frozenset[str]
    open: bool = True


@dataclass(frozen=True)
class State:
    """Scenario name -> its state; signature -> crash. A skipped scenario has no state."""

    scenarios: Mapping[str, ScenarioState] = field(default_factory=dict)
    crashes: Mapping[str, CrashState] = field(default_factory=dict)


@dataclass(frozen=True)
class News:
    """Names of scenarios and signatures of crashes, sorted.

    Attributes:
        failing: do not pass now, and passed before or did not exist.
        still_failing: passed neither before nor now.
        fixed: did not pass before, and pass now.
        flaky: pass and fail with the same driver; they are in none of the three above.
        slower: passed before and now, but slower; see `SLOWER_FACTOR`.
        crashes: unexpected crashes whose signature is new in the cell.
        known_crashes: unexpected crashes whose signature the cell had seen.
        fixed_crashes: happened when one of their scenarios last ran; not now, when all of them ran.
    """

    failing: tuple[str, ...] = ()
    still_failing: tuple[str, ...] = ()
    fixed: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    slower: tuple[str, ...] = ()
    crashes: tuple[str, ...] = ()
    known_crashes: tuple[str, ...] = ()
    fixed_crashes: tuple[str, ...] = ()

    @property
    def bad(self) -> bool:
        """Whether there is a new failure or a new crash."""
        return bool(self.failing or self.crashes)

    @property
    def headline(self) -> str:
        """The changes in numbers; empty if there are none."""
        counts = {
            "new crashes": self.crashes,
            "newly failing": self.failing,
            "fixed": self.fixed,
            "crashes gone": self.fixed_crashes,
            "slower": self.slower,
        }
        shown = {what: len(names) for what, names in counts.items() if names}
        return ", ".join(
            f"{n} {what.replace('crashes', 'crash') if n == 1 else what}" for what, n in shown.items()
        )

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.bad or self.fixed or self.slower or self.fixed_crashes)


@dataclass(frozen=True)
class Since:
    """What changed, and since which run; `run` is empty for the first run of a cell.

    Attributes:
        failing: scenario that does not pass -> the run in which that began, and its commit, as text.
    """

    news: News
    run: str = ""
    failing: Mapping[str, str] = field(default_factory=dict)


def news(previous: State, current: State) -> News:
    """What changed from `previous` to `current`. A scenario missing in `current` did not run: no change."""
    was, now = previous.scenarios, current.scenarios
    flaky = {name for name, state in now.items() if state.flaky}
    bad = {name for name, state in now.items() if state.outcome in BAD} - flaky
    bad_before = {name for name, state in was.items() if state.outcome in BAD}
    good = {name for name, state in now.items() if state.outcome is Outcome.PASSED} - flaky
    return News(
        failing=_sorted(bad - bad_before),
        still_failing=_sorted(bad & bad_before),
        fixed=_sorted(good & bad_before),
        flaky=_sorted(flaky),
        slower=_sorted(name for name in good & set(was) if _slower(was[name], now[name])),
        crashes=_sorted(current.crashes.keys() - previous.crashes.keys()),
        known_crashes=_sorted(current.crashes.keys() & previous.crashes.keys()),
        fixed_crashes=_sorted(
            signature
            for signature, crash in previous.crashes.items()
            if crash.open and signature not in current.crashes and crash.scenarios <= set(now)
        ),
    )


def is_flaky(outcomes: list[tuple[bool, bool, str]]) -> bool:
    """Whether a scenario both passes and fails with the same driver.

    Args:
        outcomes: (an execution passed, one did not, digest of the driver) of its newest runs, oldest first.
    """
    if not outcomes:
        return False
    driver = outcomes[-1][2]
    same = [(passed, failed) for passed, failed, built in outcomes if built == driver]
    if any(passed and failed for passed, failed in same):
        return True
    changes = sum(one != other for one, other in pairwise(same))
    return changes >= 2


def _slower(was: ScenarioState, now: ScenarioState) -> bool:
    before = was.seconds
    return before > 0 and now.seconds > max(before * SLOWER_FACTOR, before + SLOWER_S)


def _sorted(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(names))

"""Scenarios with allocations that fail: the options, the plan that the driver's guard gets, and the verdicts.

A scenario that fails because its driver refused a request has shown what is wanted: the driver's error path
ran, and neither crashed nor left anything behind. Such a run passes, with a note.
"""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from harness.errors import ConfigurationError
from harness.outcome import Outcome

if TYPE_CHECKING:
    import pytest

    from harness.outcome import ScenarioResult

SWEEP_LIMIT = 500
"""Allocations of one scenario that a sweep makes fail, one in each run."""
FAILED = "winvm-guard: failed: "
"""Begins the line of driver/instrument/guard_fail.c about an allocation that it made fail."""
_NUMBER, _CHANCE = 1 << 32, 2 << 32
_SEEDED = 40
_MILLION = 1_000_000
_TOLD = re.compile(r"winvm-guard: failed: (allocation \d{1,10}) ")

Option = Callable[[str], Any]


def add_options(group: pytest.OptionGroup) -> None:
    """Adds `--winvm-guard-fail` and `--winvm-guard-sweep`."""
    group.addoption(
        "--winvm-guard-fail",
        metavar="N|SHARE",
        help="make the N-th allocation of each scenario fail, or a share below 1 of all; needs --winvm-guard",
    )
    group.addoption(
        "--winvm-guard-sweep",
        action="store_true",
        help="run each scenario once for each of its allocations, which fails; needs --winvm-guard",
    )


def plans(option: Option, scenario: str) -> Iterator[int]:
    """The plans of a scenario's runs, as guard_fail.c takes them; nothing without the options.

    A sweep has no end of its own: it ends when nothing failed any more.

    Raises:
        ConfigurationError: an option cannot be used.
    """
    asked, sweep = option("--winvm-guard-fail"), option("--winvm-guard-sweep")
    if not asked and not sweep:
        return
    if not option("--winvm-guard"):
        raise ConfigurationError(
            "Allocations can only be made to fail in a driver with a guard.",
            remedy="Add --winvm-guard, or use winvm run, which adds it.",
        )
    if asked:
        yield _plan(asked, scenario)
        return
    yield from (_NUMBER | number for number in range(1, SWEEP_LIMIT + 1))


def _plan(asked: str, scenario: str) -> int:
    """The plan of `--winvm-guard-fail`: a whole number, or a share between 0 and 1."""
    try:
        if asked.isascii() and asked.isdigit() and 0 < int(asked) < 1 << 31:
            return _NUMBER | int(asked)
        share = float(asked)
    except ValueError:
        share = 0.0
    if not 1 / _MILLION <= share < 1:
        raise ConfigurationError(
            f"--guard-fail is {asked!r}.",
            remedy="Give the number of an allocation, as 3, or a share of all, as 0.05.",
        )
    seed = zlib.crc32(scenario.encode()) & 0xFFFFFF  # the same allocations fail in every run
    return seed << _SEEDED | _CHANCE | round(share * _MILLION)


def has_failed(result: ScenarioResult) -> bool:
    """Whether the guard made an allocation fail in this run."""
    return any(record.text.startswith(FAILED) for record in result.dbgprint)


def judged(result: ScenarioResult) -> ScenarioResult:
    """The result, where allocations failed: a scenario's own failure is what was asked for."""
    if result.outcome not in (Outcome.FAILED, Outcome.ERROR) or not has_failed(result):
        return result
    told = next((found[1] for record in result.dbgprint if (found := _TOLD.match(record.text))), "")
    note = f"with {told} failing, the scenario failed and the driver went on: {result.message}"
    return dataclasses.replace(result, outcome=Outcome.PASSED, message="", notes=(*result.notes, note))

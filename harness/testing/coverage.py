"""The coverage of a pytest session: its options, its reports, and what the terminal says of it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from harness.coverage.reports import Coverage
    from harness.run.bench import Bench

SHOWN_FILES = 20
SHOWN_CHANGES = 20


def add_coverage_options(group: pytest.OptionGroup) -> None:
    """`--winvm-coverage` and what goes with it, each of which asks for coverage."""
    group.addoption(
        "--winvm-coverage", action="store_true", help="show which lines of the driver the run executes"
    )
    group.addoption(
        "--winvm-coverage-fail-under",
        metavar="PERCENT",
        type=_percent,
        help="fail unless so many of the driver's lines were executed",
    )
    group.addoption(
        "--winvm-coverage-diff",
        metavar="REVISION",
        default="",
        help="show lines changed since a git revision that no scenario executed",
    )


class RunCoverage:
    """What a session covers, and what its options ask for.

    Args:
        option: pytest's getoption.
    """

    def __init__(self, option: Callable[[str], Any]) -> None:
        self._option = option
        self._made: Coverage | None = None

    @property
    def wanted(self) -> bool:
        """Whether an option asks for coverage; winvm.toml may ask, too."""
        return bool(self._option("--winvm-coverage") or self._revision or self._least is not None)

    def require_revision(self, root: Path) -> None:
        """Raises `ConfigurationError` for a revision that git does not know: before a guest is started."""
        if self._revision:
            from harness.coverage.changed import changed_lines

            changed_lines(root, self._revision)

    def write(self, bench: Bench, artifacts: Path, root: Path) -> bool:
        """Writes the reports of what the bench collected; False if less was covered than asked for.

        Raises:
            HostError: a tool of LLVM fails.
            ConfigurationError: git does not know the revision.
        """
        collected = bench.guest.counting.collected
        if collected is None:
            return True
        from harness.coverage.reports import FOLDER, write_reports

        title = bench.guest.payload.service
        self._made = write_reports(collected, artifacts / FOLDER, root, title, self._revision)
        return not self._below

    def summary(self) -> Iterator[str]:
        """The lines of the terminal summary."""
        if self._made is not None:
            yield from coverage_lines(self._made)
        if self._below:
            yield self._below

    @property
    def _below(self) -> str:
        """What to say of too little coverage; empty if it is enough, or nothing was asked for."""
        if self._made is None or self._least is None or self._made.percent >= self._least:
            return ""
        return f"coverage: {self._made.percent:.2f} % is below the {self._least:g} % asked for"

    @property
    def _least(self) -> float | None:
        least: float | None = self._option("--winvm-coverage-fail-under")
        return least

    @property
    def _revision(self) -> str:
        return str(self._option("--winvm-coverage-diff") or "")


def coverage_lines(coverage: Coverage) -> Iterator[str]:
    """The lines of the terminal summary."""
    from harness.coverage.changed import ranges
    from harness.coverage.lines import percent
    from harness.display.terminal import printable

    total = sum(len(file.counts) for file in coverage.lines.values())
    ran = sum(file.covered for file in coverage.lines.values())
    yield f"coverage: {coverage.percent:.1f} % of the driver's lines, {ran} of {total}"
    worst = sorted(coverage.lines.items(), key=lambda item: (percent([item[1]]), item[0]))
    for name, file in worst[:SHOWN_FILES]:
        if file.covered < len(file.counts):
            missed = ranges(sorted(line for line, count in file.counts.items() if not count))
            shown = missed if len(missed) <= 60 else f"{missed[:60].rpartition(',')[0]}, ..."
            yield f"  {percent([file]):5.1f} % {printable(name)}, not {shown}"
    if coverage.revision:
        count = sum(map(len, coverage.missed.values()))
        lines = f"{count} line{'' if count == 1 else 's'}"
        yield f"changed since {printable(coverage.revision)} and not covered: {lines}"
        for name, missing in list(coverage.missed.items())[:SHOWN_CHANGES]:
            yield f"  {printable(name)}: {ranges(missing)}"
    for trouble in coverage.troubles[:SHOWN_CHANGES]:
        yield f"  counts may be missing: {printable(trouble)}"


def _percent(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 100:
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage, 0 to 100")
    return number

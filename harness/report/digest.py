"""Reduces a run to what reports show and history keeps: a row per scenario, a group per crash signature.

A digest's memory is bounded whatever the run printed. Its texts hold no control characters: each one passes
`printable`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from harness.crash.expectation import describe
from harness.dumps.signature import source_name
from harness.outcome import CrashRecord, DebugRecord, Outcome, ScenarioResult, Subresult
from harness.report.evidence import Analysis, Call, analysis_of, calls, crash_folder, text
from harness.report.recorded import RecordedRun, RunRecord

GRAVITY = (
    Outcome.SKIPPED,
    Outcome.PASSED,
    Outcome.DIFFERS,
    Outcome.FAILED,
    Outcome.ERROR,
    Outcome.LOST,
    Outcome.HUNG,
    Outcome.CRASHED,
)
"""Outcomes from the least to the most severe."""
BAD = frozenset(GRAVITY[3:])
LINES_SHOWN = 200
DETAIL_LINES = 120
NOTES = 20
SUBRESULTS = 200
LAST_WORDS = 20
NAME_CHARACTERS = 200
MESSAGE_CHARACTERS = 4000
SHORT_MESSAGE = 300
BUDGET = 768 << 10
"""Characters of messages, details and debug output kept for scenarios that passed, and as many for those that
did not. Later scenarios have a short message only."""
OCCURRENCES = 20
"""Crashes of one signature that are kept individually."""


@dataclass(frozen=True)
class Printed:
    """A scenario's debug output: the newest lines, and how many older ones are left out.

    `lines` are (seconds since the scenario began, source, text).
    """

    lines: tuple[tuple[float, str, str], ...] = ()
    left_out: int = 0


@dataclass
class Row:
    """All executions of one scenario in a run. Reports the most severe outcome; of equal ones, the first.

    Attributes:
        seconds: shortest and longest by the host's clock, restores included.
        guest_seconds: shortest execution that passed, by the agent's clock; 0 if none passed.
        subresults: of the tests of a program, the most severe first, without control characters.
    """

    name: str
    kind: str
    outcome: Outcome
    times: int = 0
    bad: int = 0
    seconds: tuple[float, float] = (0.0, 0.0)
    guest_seconds: float = 0.0
    message: str = ""
    detail: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    operations: int = 0
    printed: Printed = Printed()
    signature: str = ""
    build: str = ""
    file: str = ""
    line: int = 0
    subresults: tuple[Subresult, ...] = ()
    subresults_left_out: int = 0


@dataclass
class CrashGroup:
    """Equal crashes of a run.

    Attributes:
        expected: how many of `times` the scenario expected.
        first: the first crashes, at most `OCCURRENCES`; `folders` are theirs, None where one is gone.
        analysis: analysis.json of the first crash that has one.
        scenarios: (scenario, driver build) -> (times, expected).
        sources: (scenario, driver build) -> base name of the source file that crashed, empty if unknown.
    """

    signature: str
    times: int = 0
    expected: int = 0
    first: list[CrashRecord] = field(default_factory=list)
    folders: list[Path | None] = field(default_factory=list)
    analysis: Analysis = field(default_factory=Analysis)
    scenarios: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    sources: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def unexpected(self) -> int:
        """How many of them no scenario expected."""
        return self.times - self.expected

    @property
    def what(self) -> str:
        """Bugcheck code and parameters, as text."""
        return text(self.analysis.what or describe(self.first[0].report))

    @property
    def likely_cause(self) -> str:
        """One sentence; empty if the crash was not analysed."""
        return text(self.analysis.likely_cause)

    @property
    def last_words(self) -> list[str]:
        """The last debug output before the crash."""
        return [text(line) for line in self.analysis.dbgprint_tail[-LAST_WORDS:]]

    @property
    def stack(self) -> list[Call]:
        """The symbolised stack, the fault first."""
        return calls(self.analysis)


@dataclass
class Digest:
    """One run. Rows are in the order of their first execution, crashes in that of their first occurrence."""

    folder: Path
    record: RunRecord
    rows: dict[str, Row] = field(default_factory=dict)
    crashes: dict[str, CrashGroup] = field(default_factory=dict)
    results: int = 0

    def count(self, *outcomes: Outcome) -> int:
        """Number of scenarios with one of these outcomes."""
        return sum(row.outcome in outcomes for row in self.rows.values())

    @property
    def not_run(self) -> int:
        """Number of chosen scenarios without a result."""
        return max(0, self.record.planned - len(self.rows))


def digest(run: RecordedRun) -> Digest:
    """Reads all results of a run once."""
    made = Digest(run.folder, run.record)
    budgets = {True: _Budget(), False: _Budget()}
    for result in run.results():
        made.results += 1
        name = text(result.name, NAME_CHARACTERS)
        budget = budgets[result.outcome in BAD]
        signature = _add_crash(made, result, name) if result.crash else ""
        row = made.rows.get(name)
        if row is None:
            row = made.rows[name] = Row(
                name, text(result.kind), result.outcome, seconds=(result.seconds,) * 2
            )
            _tell(row, result, signature, budget)
        elif GRAVITY.index(result.outcome) > GRAVITY.index(row.outcome):
            _tell(row, result, signature, budget)
        _count(row, result)
    return made


def lines(value: str, limit: int = DETAIL_LINES) -> tuple[str, ...]:
    """A text's lines, made printable; only the last ones if there are more than `limit`."""
    found = value.split("\n")
    cut = [f"… {len(found) - limit} lines left out"] if len(found) > limit else []
    return (*cut, *(text(line.rstrip("\r")) for line in found[-limit:]))


def _count(row: Row, result: ScenarioResult) -> None:
    row.times += 1
    row.bad += result.outcome in BAD
    row.seconds = (min(row.seconds[0], result.seconds), max(row.seconds[1], result.seconds))
    if result.outcome is Outcome.PASSED and result.guest_seconds:
        row.guest_seconds = min(row.guest_seconds or sys.float_info.max, result.guest_seconds)


class _Budget:
    """The room left in the digest."""

    def __init__(self) -> None:
        self.left = BUDGET

    def takes(self, *texts: str) -> bool:
        """Reserves room for the texts; returns whether there was enough."""
        size = sum(map(len, texts))
        if size > self.left:
            return False
        self.left -= size
        return True


def _tell(row: Row, result: ScenarioResult, signature: str, budget: _Budget) -> None:
    row.outcome, row.signature = result.outcome, signature
    message = text(result.message, MESSAGE_CHARACTERS)
    row.message = message if budget.takes(message) else text(result.message, SHORT_MESSAGE)
    detail = lines(result.detail) if result.detail else ()
    row.detail = detail if budget.takes(*detail) else ("left out: see results.json",)
    notes = tuple(text(note) for note in result.notes[:NOTES])
    row.notes = notes if budget.takes(*notes) else ()
    row.operations = result.operations
    row.build, row.file, row.line = text(result.build), text(result.file), result.line
    _tell_subresults(row, result.subresults, budget)
    row.printed = _printed(result.dbgprint, result.started, budget)


def _tell_subresults(row: Row, tests: tuple[Subresult, ...], budget: _Budget) -> None:
    """The tests for which there is room, those that failed first."""
    kept: list[Subresult] = []
    for test in sorted(tests, key=lambda test: GRAVITY.index(test.outcome), reverse=True):
        shown = Subresult(text(test.name, NAME_CHARACTERS), test.outcome, text(test.message))
        if len(kept) == SUBRESULTS or not budget.takes(shown.name, shown.message):
            break
        kept.append(shown)
    row.subresults, row.subresults_left_out = tuple(kept), len(tests) - len(kept)


def _printed(records: tuple[DebugRecord, ...], began: float, budget: _Budget) -> Printed:
    kept: list[tuple[float, str, str]] = []
    for record in reversed(records[-LINES_SHOWN:]):
        source, shown = text(record.source), text(record.text)
        if not budget.takes(source, shown):
            break
        kept.append((max(0.0, record.time - began), source, shown))
    return Printed(tuple(reversed(kept)), len(records) - len(kept))


def _add_crash(made: Digest, result: ScenarioResult, name: str) -> str:
    assert result.crash
    crash = result.crash
    folder = crash_folder(made.folder, crash)
    analysis = analysis_of(folder)
    signature = text(crash.signature or analysis.signature or f"{crash.kind}-{crash.code:x}")
    group = made.crashes.setdefault(signature, CrashGroup(signature))
    expected = result.outcome not in BAD
    group.times += 1
    group.expected += expected
    group.analysis = group.analysis if group.analysis.what else analysis
    if len(group.first) < OCCURRENCES:
        group.first.append(crash)
        group.folders.append(folder)
    times, as_expected = group.scenarios.get((name, result.build), (0, 0))
    group.scenarios[name, text(result.build)] = (times + 1, as_expected + expected)
    group.sources.setdefault((name, text(result.build)), source_name(analysis.fault))
    return signature

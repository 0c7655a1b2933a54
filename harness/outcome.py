"""Frozen types for the results of a run: scenarios, their results, crashes, debug records.

They are plain data: `results.json` uses the same field names.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class Outcome(enum.StrEnum):
    """How one scenario ended."""

    PASSED = "passed"
    FAILED = "failed"  # an assertion of the scenario, or of its expected DbgPrint, did not hold
    ERROR = "error"  # the scenario raised something that is not an assertion
    SKIPPED = "skipped"  # a capability is missing; the message names it
    DIFFERS = "differs"  # it ended badly in the way that the guest's profile foretells; the message says why
    CRASHED = "crashed"  # the driver crashed and the scenario did not expect that crash
    HUNG = "hung"  # no result before its deadline, or a flood of debug output instead of one
    LOST = "lost"  # agent, guest or connection ended during it, and no crash of the driver explains that


GOOD = frozenset({Outcome.PASSED, Outcome.SKIPPED, Outcome.DIFFERS})
"""What fails no run."""


def exit_code(counts: Mapping[Outcome, int]) -> int:
    """winvm's exit code for results: a crash (4) outranks a lost guest (3), which outranks a failure (1).

    A known difference of the guest (`DIFFERS`) is none of these.
    """
    if counts.get(Outcome.CRASHED) or counts.get(Outcome.HUNG):
        return 4
    if counts.get(Outcome.LOST):
        return 3
    return int(bool(counts.get(Outcome.FAILED) or counts.get(Outcome.ERROR)))


@dataclass(frozen=True)
class CrashExpectation:
    """The crash that a scenario expects; without any field, each bugcheck and each exception.

    A Windows kernel reports `bugcheck` and four `parameters`. Wine reports KeBugCheckEx the same way, and any
    other fault as an exception (`exception` code, `address` accessed). `hang` expects no progress at all.
    """

    bugcheck: int | None = None
    parameters: tuple[int | None, ...] | None = None
    exception: int | None = None
    address: int | None = None
    hang: bool = False


@dataclass(frozen=True)
class Scenario:
    """Metadata of one scenario as the agent's registry lists it on the host.

    case: JSON of the operations that the agent issues in a scenario's place, for a case of a corpus.
    """

    name: str
    kind: str
    summary: str = ""
    needs: tuple[str, ...] = ()
    build: str = ""
    deadline_s: float = 30.0
    expect_dbgprint: tuple[str, ...] = ()
    expect_crash: CrashExpectation | None = None
    tags: tuple[str, ...] = ()
    file: str = ""
    line: int = 0
    case: str = ""

    @property
    def marks(self) -> tuple[str, ...]:
        """Names of the pytest markers that select this scenario: its kind and its tags."""
        return tuple(dict.fromkeys((self.kind, *self.tags)))


@dataclass(frozen=True)
class DebugRecord:
    """One line of debug output: `time` is host UNIX time in seconds, `source` e.g. `dbgprint` or `wine`."""

    time: float
    source: str
    text: str


@dataclass(frozen=True)
class CrashHint:
    """What a guest's own log says about a crash beyond its code; each part is empty where it says nothing.

    Attributes:
        what: one line that names the crash better than its code does.
        cause: what the driver did, as the rest of a sentence that begins with its name, without a full stop.
        limit: which limit of this guest ended a driver that Windows would have let run.
    """

    what: str = ""
    cause: str = ""
    limit: str = ""


@dataclass(frozen=True)
class KernelCrash:
    """A crash as the kernel, Wine or the host's own deadline reports it, at the moment of the report.

    `kind` is one of `bugcheck`, `exception`, `hang` (no progress before a deadline), `flood` (the guest was
    given up because it prints faster than the host reads) and `ended` (the service control manager found the
    driver dead and nothing else reported why). `code` is that of the bugcheck or exception, or the exit code
    of the service. `parameters` are the four bugcheck parameters; for an exception they hold (code,
    instruction address, accessed address, 1 for a write). `time` is host UNIX time in seconds, `text` the
    line that reported it, `notes` the driver images that were loaded. `hint` and `stack` are filled in by the
    guest's debug stream; `stack` are addresses in the driver, innermost first, where the driver's guard told.
    """

    kind: str
    code: int
    parameters: tuple[int, ...]
    time: float
    text: str = ""
    notes: tuple[str, ...] = ()
    hint: CrashHint = CrashHint()
    stack: tuple[int, ...] = ()


@dataclass(frozen=True)
class CrashRecord:
    """One crash of a run with its evidence; crash.json has the same content.

    Attributes:
        report: the report of the kernel.
        scenario: cause of the crash: a scenario, a test, or the loading or unloading of the driver.
        folder: the folder with the evidence.
        signature: equal for equal crashes.
        last_operation: the last operation in the agent's journal; empty if there is none.
        artifacts: names of the files in `folder`.
        notes: notes of the report, and the reasons for missing evidence.
        bundle: the file that replays the crash, relative to the run's folder; empty if there is none.
        cause: the crash in one sentence, with function and line where they are known.
    """

    report: KernelCrash
    scenario: str
    folder: Path
    signature: str
    last_operation: str = ""
    artifacts: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    bundle: str = ""
    cause: str = ""

    @property
    def kind(self) -> str:
        """Kind of the crash, as in the report."""
        return self.report.kind

    @property
    def code(self) -> int:
        """Code of the bugcheck or exception, as in the report."""
        return self.report.code

    @property
    def parameters(self) -> tuple[int, ...]:
        """Parameters, as in the report."""
        return self.report.parameters

    @property
    def time(self) -> float:
        """Host UNIX time of the report, in seconds."""
        return self.report.time

    @property
    def text(self) -> str:
        """The line that reported the crash."""
        return self.report.text


@dataclass(frozen=True)
class Subresult:
    """One test that a program of a scenario reported; `outcome` is passed, failed or skipped."""

    name: str
    outcome: Outcome
    message: str = ""


@dataclass(frozen=True)
class ScenarioResult:
    """Result of one scenario.

    seconds: by the host's clock, restoring and loading included. guest_seconds: by the agent's clock, the
    scenario alone; 0 when it did not end by itself. build: of the driver; empty if the scenario needs none.
    file, line: of the scenario's source on the host. subresults: of the tests of a program that it ran.
    """

    name: str
    kind: str
    outcome: Outcome
    message: str = ""
    detail: str = ""
    started: float = 0.0
    seconds: float = 0.0
    guest_seconds: float = 0.0
    operations: int = 0
    dbgprint: tuple[DebugRecord, ...] = ()
    crash: CrashRecord | None = None
    notes: tuple[str, ...] = ()
    build: str = ""
    file: str = ""
    line: int = 0
    subresults: tuple[Subresult, ...] = ()


@dataclass(frozen=True)
class RunResult:
    """A whole run without its results: those are in `results.json`, because they may be many.

    counts: results by outcome. crashes: results with a crash, expected ones too. signatures: of these
    crashes; for each, how many a scenario had. results: `results.json`. cell: runs of equal cells are
    compared with each other. planned: number of selected scenarios. broke_off: why the run ended early;
    empty if it did not. source: `run`, `smoke` or `night`. partial: some of the scenarios were chosen, by
    name, -k, -m or --lf; such a run changes nothing of what history knows.
    """

    run_id: str
    guest: str
    started: float
    seconds: float
    counts: Mapping[Outcome, int]
    crashes: int
    results: Path
    missing_capabilities: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    signatures: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    cell: str = ""
    planned: int = 0
    broke_off: str = ""
    source: str = "run"
    partial: bool = False

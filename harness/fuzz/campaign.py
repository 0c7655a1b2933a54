"""One campaign in one guest: slices of the loop, a restore after each crash, minimised cases, the corpus."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.dumps.signature import recurs
from harness.errors import DriverLoadError, InfrastructureError
from harness.fuzz import corpus
from harness.fuzz.corpus import Case, Operations
from harness.fuzz.journalled import Slice, read_slice
from harness.fuzz.minimising import join, minimised, sufficient
from harness.fuzz.targets import Targets
from harness.journal import Journal, StepKind
from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.run.bench import Bench

NAME, KIND = "fuzz.case", "fuzz"
SLICE_S = 20.0
GRACE_S = 12.0
"""A slice's deadline beyond its time: a call that hangs is found then."""
TRIAL_S = 12.0
MINIMISE_S = 240.0
"""For one finding; its smallest case so far is kept then."""
CONFIRM = 2
SENT_LIMIT = 600 << 10
"""Bytes of the corpus that one command to the agent carries."""
LOST_LIMIT = 3


@dataclass
class Finding:
    """A crash that the campaign found.

    Attributes:
        after_s: seconds of fuzzing until it came up, restores and minimising not counted.
        reproduced: how many of `replays` of the case in a restored guest crashed the same way; none of 0 if
            no case crashes so.
        times: how often it came up.
    """

    signature: str
    what: str
    cause: str
    case: Case
    after_s: float
    operations: int
    folder: Path
    known: bool = False
    times: int = 1
    file: Path | None = None
    bundle: str = ""

    @property
    def confirmed(self) -> bool:
        """Whether its case causes the crash."""
        return self.case.reproduced > 0

    def document(self) -> dict[str, Any]:
        """As JSON-ready data."""
        return {
            "signature": self.signature,
            "what": self.what,
            "cause": self.cause,
            "after_s": round(self.after_s, 1),
            "operations": self.operations,
            "reproduced": self.case.reproduced,
            "replays": self.case.replays,
            "known": self.known,
            "times": self.times,
            "case": corpus.documents(self.case.operations),
            "file": str(self.file) if self.file else "",
            "bundle": self.bundle,
            "folder": str(self.folder),
        }


@dataclass
class Campaign:
    """What to fuzz, how long, and what was found.

    Args:
        stop_at: whether the campaign ends with this finding.

    Attributes:
        seconds: of fuzzing, by the agent's clock: restores and minimising are not counted.
    """

    bench: Bench
    journal: Journal
    targets: Targets
    driver: str
    build: str
    folder: Path | None
    minutes: float
    seed: int
    guided: bool = True
    minimise: bool = True
    told: Callable[[str], None] = lambda _line: None
    stop_at: Callable[[Finding], bool] = lambda _finding: False
    findings: dict[str, Finding] = field(default_factory=dict)
    kept: list[Case] = field(default_factory=list)
    seconds: float = 0.0
    operations: int = 0
    cases: int = 0
    edges: int = 0
    lost: int = 0
    _more: bool = False

    def run(self) -> None:
        """Fuzzes until the time is over.

        Raises:
            ConfigurationError: the corpus cannot be read or written.
            InfrastructureError: the guest cannot be restored.
        """
        known = corpus.read(self.folder) if self.folder else {}
        self.kept = list(corpus.kept(known.values()))
        old = {case.signature for case in known.values() if case.signature}
        deadline, lost = Deadline.after(self.minutes * 60), 0
        while not deadline.expired:
            seconds = min(SLICE_S, deadline.remaining())
            result, done = self._slice(seconds)
            self._count(done, result, seconds)
            if result.outcome is Outcome.LOST:
                lost += 1
                if lost > LOST_LIMIT:
                    raise InfrastructureError(f"The guest was lost {lost} times: {result.message}")
            if result.crash is None:
                if result.outcome in (Outcome.ERROR, Outcome.FAILED):
                    raise DriverLoadError(
                        f"The loop ended in the guest: {result.message}",
                        remedy="See the detail, and dbgprint.log of this run.",
                        detail=result.detail,
                    )
                self._more = result.outcome is Outcome.PASSED
                continue
            self._more = False
            if self.stop_at(self._found(result, done, old)):
                return

    def least(self) -> list[Case]:
        """The kept cases of the corpus that together reach all that the corpus reaches, in a fresh driver.

        Raises:
            InfrastructureError: the guest cannot be restored.
        """
        cases = list(corpus.kept(corpus.read(self.folder).values())) if self.folder else []
        needed: list[Case] = []
        for start in range(0, len(cases), 500):
            part = [corpus.documents(case.operations) for case in cases[start : start + 500]]
            plan = {"corpus": part, "only_corpus": True, "targets": self.targets.document, "guided": True}
            result, done = self._issue({**plan, "seconds": SLICE_S * 3}, SLICE_S * 3 + GRACE_S)
            if result.crash or result.outcome is not Outcome.PASSED:
                return cases  # what was not seen to be needless stays
            needed += [Case(driver=self.driver, operations=case) for case, _ in done.kept]
        return needed

    def _slice(self, seconds: float) -> tuple[ScenarioResult, Slice]:
        plan: dict[str, Any] = {
            "seconds": seconds,
            "guided": self.guided,
            "seed": self.seed * 1000 + sum(one.times for one in self.findings.values()),
            "more": self._more,
            "targets": self.targets.document,
            "sizes": self.targets.sizes,
        }
        if not self._more and self.guided:
            plan["corpus"] = self._sent()
        return self._issue(plan, seconds + GRACE_S)

    def _issue(self, plan: dict[str, Any], deadline_s: float) -> tuple[ScenarioResult, Slice]:
        bench = self.bench
        bench.crashes.bundles = False
        result = bench.run(self._scenario(deadline_s), fuzz=plan)
        return result, read_slice(bench.guest.machine.channels.journal, NAME)

    def _sent(self) -> list[list[dict[str, Any]]]:
        sent, size = [], 0
        for case in sorted(self.kept, key=lambda one: len(one.sent)):
            size += len(case.sent)
            if size > SENT_LIMIT:
                break
            sent.append(corpus.documents(case.operations))
        return sent

    def _count(self, done: Slice, result: ScenarioResult, seconds: float) -> None:
        self.seconds += done.seconds or min(seconds, result.seconds)
        self.operations += done.operations
        self.cases += done.cases
        self.edges = max(self.edges, done.edges)
        self.lost += done.lost
        have = {case.sent for case in self.kept}
        for operations, _ in done.kept:
            case = Case(driver=self.driver, operations=operations)
            if case.sent not in have:
                self.kept.append(case)
                if self.folder:
                    corpus.write(self.folder, case)

    def _found(self, result: ScenarioResult, done: Slice, old: set[str]) -> Finding:
        crash = result.crash
        assert crash is not None
        for finding in self.findings.values():
            if recurs(finding.signature, crash.signature):
                finding.times += 1
                return finding
        case = Case(
            signature=crash.signature,
            what=result.message[:2000],
            driver=self.driver,
            operations=join(done.last[-1:]) or (corpus.Operation(op="wait"),),
        )
        finding = Finding(
            crash.signature, result.message, crash.cause, case, self.seconds, self.operations, crash.folder
        )
        finding.known = crash.signature in old
        self.findings[crash.signature] = finding
        self.told(f"found {crash.signature} after {self.seconds:.0f} s and {self.operations} operations")
        if self.minimise and done.last and not finding.known:
            with self.journal.step(StepKind.REPLAY, f"minimise {crash.signature}"):
                self._minimise(finding, done.last)
        if self.folder and not finding.known:
            finding.file = corpus.write(self.folder, finding.case)
        return finding

    def _minimise(self, finding: Finding, last: Sequence[Operations]) -> None:
        """Fills in the smallest case that crashes in the same way, and how often it does in a fresh guest."""
        bench = self.bench

        def crashes(operations: Operations, *, fresh: bool = False) -> bool:
            if fresh:
                bench.guest.restore()
            else:
                self._reload()
            scenario = self._scenario(TRIAL_S, json.dumps(corpus.documents(operations)))
            result = bench.run(scenario)
            if result.crash is None or not recurs(finding.signature, result.crash.signature):
                return False
            finding.bundle = result.crash.bundle or finding.bundle
            return True

        began = time.monotonic()
        enough = sufficient(last, crashes)
        if enough is None:
            return
        small = minimised(enough, crashes, Deadline.after(MINIMISE_S))
        bench.crashes.bundles = True
        again = sum(crashes(small, fresh=True) for _ in range(CONFIRM))
        finding.case = finding.case.model_copy(
            update={"operations": small, "reproduced": again, "replays": CONFIRM}
        )
        self.told(
            f"minimised {finding.signature} to {len(small)} operations in {time.monotonic() - began:.0f} s;"
            f" it recurs {again}/{CONFIRM}"
        )

    def _reload(self) -> None:
        """The driver is loaded anew, so that a trial begins as every other one."""
        try:
            self.bench.unload()
        except (DriverLoadError, InfrastructureError):
            self.bench.guest.restore()

    def _scenario(self, deadline_s: float, case: str = "") -> Scenario:
        return Scenario(NAME, KIND, build=self.build, deadline_s=deadline_s, case=case)

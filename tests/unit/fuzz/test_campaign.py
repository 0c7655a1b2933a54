"""A campaign with a guest in Python: findings are minimised and confirmed, and never called better."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from harness.fuzz import corpus
from harness.fuzz.campaign import NAME, Campaign
from harness.fuzz.corpus import Case, Operation, documents
from harness.fuzz.targets import Targets
from harness.journal import Journal
from harness.outcome import CrashRecord, KernelCrash, Outcome, Scenario, ScenarioResult
from harness.run.bench import Bench

OPEN = Operation(op="open", device=r"\??\A")
BAD = Operation.model_validate({"op": "ioctl", "code": 0x222004, "in": "7f"})
GOOD = Operation(op="ioctl", code=0x222000)
SIGNATURE = "d6-a.sys-Fill"


class FakeBench:
    """A bench whose slices crash with the last case, and whose replays crash as `replays` says."""

    def __init__(self, folder: Path, replays: Callable[[list[dict[str, Any]]], bool]) -> None:
        self.journal = folder / "journal"
        self.guest = SimpleNamespace(
            machine=SimpleNamespace(channels=SimpleNamespace(journal=self.journal)), restore=self._restore
        )
        self.crashes = SimpleNamespace(bundles=True)
        self.restores = self.runs = 0
        self.plans: list[dict[str, Any]] = []
        self._replays = replays

    def _restore(self) -> None:
        self.restores += 1

    def unload(self) -> None:
        """Nothing is loaded."""

    def run(self, scenario: Scenario, fuzz: dict[str, Any] | None = None) -> ScenarioResult:
        """A slice, or a replay of a case."""
        self.runs += 1
        if fuzz is None:
            down = self._replays(json.loads(scenario.case))
        else:
            self.plans.append(fuzz)
            down = True
            self._write(("FuzzCase", [OPEN, GOOD], {"issued": 0}), ("FuzzKept", [OPEN, GOOD], {"edges": 5}))
            self._write(("FuzzCase", [OPEN, GOOD, BAD, GOOD], {"issued": 700}))
        report = KernelCrash("bugcheck", 0xD6, (), time=0.0, text="")
        crash = CrashRecord(report, NAME, Path("crash"), SIGNATURE, cause="Fill (a.c:3) is at fault.")
        outcome = Outcome.CRASHED if down else Outcome.PASSED
        return ScenarioResult(NAME, "fuzz", outcome, seconds=1.0, crash=crash if down else None)

    def _write(self, *lines: tuple[str, list[Operation], dict[str, int]]) -> None:
        with self.journal.open("a") as journal:
            for op, case, more in lines:
                call = {"case": documents(case), **more}
                entry = {"run": self.runs, "scenario": NAME, "op": op, "call": call}
                journal.write(json.dumps(entry) + "\n")


def campaign(bench: FakeBench, folder: Path) -> Campaign:
    return Campaign(
        bench=cast(Bench, bench),
        journal=Journal(),
        targets=Targets({r"\??\A": [0x222000]}),
        driver="a",
        build="release",
        folder=folder,
        minutes=1.0,
        seed=3,
        stop_at=lambda finding: finding.times == 2,
    )


def has_bad(operations: list[dict[str, Any]]) -> bool:
    return any(one.get("code") == BAD.code for one in operations) and operations[0]["op"] == "open"


def test_a_crash_is_minimised_confirmed_and_kept_once(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path, has_bad)
    made = campaign(bench, tmp_path / "corpus")
    made.run()
    (finding,) = made.findings.values()
    assert (finding.times, finding.confirmed, finding.case.reproduced, finding.case.replays) == (
        2,
        True,
        2,
        2,
    )
    assert [one.op for one in finding.case.operations] == ["open", "ioctl"]
    assert finding.case.operations[1].given == ""
    assert bench.restores == 2
    stored = corpus.read(tmp_path / "corpus")
    assert {case.signature for case in stored.values()} == {SIGNATURE, ""}
    assert made.operations == 1400
    assert bench.plans[1]["corpus"] == [documents([OPEN, GOOD])]
    assert bench.plans[0]["seed"] != bench.plans[1]["seed"]


def test_what_does_not_recur_is_not_called_reproduced(tmp_path: Path) -> None:
    made = campaign(FakeBench(tmp_path, lambda _operations: False), tmp_path / "corpus")
    made.run()
    (finding,) = made.findings.values()
    assert not finding.confirmed
    assert finding.case.replays == 0
    assert list(finding.case.operations) == [OPEN, GOOD, BAD, GOOD]


def test_a_crash_that_only_recurs_in_a_used_guest_is_not_confirmed(tmp_path: Path) -> None:
    bench = FakeBench(tmp_path, lambda _operations: bench.restores == 0)
    made = campaign(bench, tmp_path / "corpus")
    made.run()
    (finding,) = made.findings.values()
    assert (finding.confirmed, finding.case.reproduced, finding.case.replays) == (False, 0, 2)


def test_a_crash_that_the_corpus_holds_is_known(tmp_path: Path) -> None:
    corpus.write(tmp_path / "corpus", Case(signature=SIGNATURE, operations=(OPEN, BAD)))
    bench = FakeBench(tmp_path, has_bad)
    made = campaign(bench, tmp_path / "corpus")
    made.run()
    (finding,) = made.findings.values()
    assert finding.known
    assert bench.restores == 0

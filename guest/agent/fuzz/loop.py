"""The loop: makes a case, journals it, issues it, asks what was new, keeps it if something was.

The host calls it for a slice of time; what was learnt stays with the driver's load for the next slice. The
journal is the only way out that a crash leaves: a case is there before its first operation is issued, and a
kept case and its reason as soon as they are known.
"""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from agent.fuzz.case import Case, checked, shown
from agent.fuzz.execute import Executor
from agent.fuzz.generate import Generator, targets_of
from agent.fuzz.guidance import FORGET, Guidance, Novelty
from agent.fuzz.mutate import Mutator, substituted
from agent.operations import Operations

CASE, KEPT, REPORT = "FuzzCase", "FuzzKept", "FuzzReport"
"""Operations in the journal; harness/fuzz/journalled.py reads them."""
KEPT_LIMIT = 4096
SHOWN = 200
FRESH = 0.15
"""Share of cases that are new although there are kept ones to change."""

Open = Callable[[str, Operations], Guidance]


class Fuzzer:
    """The loop's state for one load of a driver.

    Args:
        plan: the host's: targets, sizes, seed, corpus, service, guided.
    """

    def __init__(self, plan: dict[str, Any], executor: Executor | None = None) -> None:
        source = random.Random(int(plan.get("seed", 0)))  # noqa: S311  a case is repeatable, no secret
        self.generator = Generator(source, targets_of(plan["targets"]), plan.get("sizes", ()))
        self._random = source
        self._mutator = Mutator(self.generator)
        self._executor = executor or Executor()
        self._guided = bool(plan.get("guided", True))
        self._service = str(plan.get("service", ""))
        self._queue: deque[Case] = deque(checked(case) for case in plan.get("corpus", ()))
        self.kept: list[Case] = []
        self.cases = 0
        self.total = 0
        self._fresh = True
        self._only_corpus = bool(plan.get("only_corpus"))

    @property
    def issued(self) -> int:
        """Operations so far."""
        return self._executor.issued

    def run(self, seconds: float, t: Operations, open_guidance: Open = Guidance.open) -> None:
        """Runs cases for that long, or until the deadline of `t`.

        Raises:
            Win32Error: the driver keeps too many requests.
            NtStatusError: the driver was to be guided, and is not built for it.
        """
        began, issued, cases = time.monotonic(), self.issued, self.cases
        guidance = open_guidance(self._service, t) if self._guided else None
        try:
            if self._fresh:
                self._fresh = False
                self._drop_absent(t)
                if guidance:
                    guidance.ask(FORGET)
            while time.monotonic() - began < seconds and not t.deadline.expired:
                if self._only_corpus and not self._queue:
                    break
                self.once(self._next(), t, guidance)
        finally:
            if guidance:
                guidance.close()
            report = {
                "seconds": round(time.monotonic() - began, 3),
                "operations": self.issued - issued,
                "cases": self.cases - cases,
                "edges": self.total,
                "kept": len(self.kept),
                "lost": len(self._executor.lost),
            }
            t.record(REPORT, f"{report['operations']} operations", report)

    def _drop_absent(self, t: Operations) -> None:
        """Leaves out devices that this build of the driver does not have, unless it has none of them."""
        t.record("FuzzOpen", "looks which devices there are")
        targets = self.generator.targets
        self.generator.targets = [one for one in targets if self._executor.opens(one.device)] or targets

    def once(self, case: Case, t: Operations, guidance: Guidance | None) -> None:
        """Journals a case, issues it, and keeps it if it reached something new."""
        self.cases += 1
        t.record(CASE, shown(case)[:SHOWN], {"case": case, "issued": self.issued})
        self._executor.run(case)
        if guidance is None:
            return
        novelty = guidance.ask()
        self.total = novelty.total
        if novelty.edges or novelty.counts:
            self._keep(case, novelty, t)

    def _keep(self, case: Case, novelty: Novelty, t: Operations) -> None:
        for one, two in novelty.compared:
            for value in (one, two):
                self._learn(case, value)
        if len(self.kept) < KEPT_LIMIT:
            self.kept.append(case)
        else:
            self.kept[self._random.randrange(KEPT_LIMIT)] = case
        if novelty.edges:
            if not self._only_corpus:
                self._queue.extend(substituted(case, novelty.compared))
            t.record(KEPT, f"{novelty.edges} new edges", {"case": case, "edges": novelty.total})

    def _learn(self, case: Case, value: int) -> None:
        """A value that the driver compares with; what looks like a control code is one of the device's."""
        self.generator.learn(value)
        devices = [one["device"] for one in case if "device" in one]
        codes = {one.get("code", 0) >> 16 for one in case if one["op"] == "ioctl"}
        if devices and value >> 16 in codes and value <= 0xFFFFFFFF and value >> 16:
            for target in self.generator.targets:
                if target.device == devices[0] and value not in target.codes and len(target.codes) < 256:
                    target.codes.append(value)

    def _next(self) -> Case:
        if self._queue:
            return self._queue.popleft()
        if not self.kept or self._random.random() < FRESH:
            return self.generator.case()
        newest = max(self._random.randrange(len(self.kept)), self._random.randrange(len(self.kept)))
        other = self.kept[self._random.randrange(len(self.kept))]
        return self._mutator.changed(self.kept[newest], other)


_fuzzers: dict[str, Fuzzer] = {}
"""The fuzzer of this agent's driver; a restored guest has a new agent, and so none."""


def fuzz(plan: dict[str, Any], t: Operations) -> None:
    """One slice, as the host's plan says: `seconds`, and `more` to go on with the fuzzer of the last one.

    Raises:
        ValueError: the plan is none.
        Win32Error, NtStatusError: as `Fuzzer.run`.
    """
    if not plan.get("targets") and not plan.get("more"):
        raise ValueError("the plan names no target")
    if not plan.get("more") or "" not in _fuzzers:
        _fuzzers[""] = Fuzzer(plan)
    _fuzzers[""].run(float(plan["seconds"]), t)


def replay_case(document: object, times: int, t: Operations) -> int:
    """Issues one case some times, journalled as the loop does; returns the operations issued.

    Raises:
        ValueError: the document is no case.
        Win32Error: as `Executor.run`.
    """
    case, executor = checked(document), Executor()
    for _ in range(times):
        t.record(CASE, shown(case)[:SHOWN], {"case": case, "issued": executor.issued})
        executor.run(case)
    return executor.issued

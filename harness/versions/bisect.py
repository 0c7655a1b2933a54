"""The first commit at which scenarios stop to pass: `git bisect`, and a trial of each commit that it names.

What is bad is what the bad commit shows and the good one does not: scenarios that do not pass, the crash of
one signature, or a driver that does not load.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from harness.errors import ConfigurationError
from harness.outcome import ScenarioResult
from harness.report.digest import BAD
from harness.report.sources import parted, same_crash
from harness.versions.trial import Trial
from harness.versions.worktree import Worktree

Try = Callable[[frozenset[str] | None], Trial]
"""Tries the version that is checked out: the scenarios of these names, or those that the user chose."""


class Verdict(enum.StrEnum):
    """What a commit is to `git bisect`."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"


@dataclass(frozen=True)
class Step:
    """One commit that was tried. `why`: what was seen, a few words; `bad`: the results that make it bad."""

    commit: str
    subject: str
    verdict: Verdict
    why: str
    seconds: float
    bad: tuple[ScenarioResult, ...] = ()


@dataclass
class Found:
    """The end of a search.

    Attributes:
        first_bad: None if only commits that cannot be tried are left; then it is among `candidates`.
    """

    steps: list[Step] = field(default_factory=list)
    first_bad: Step | None = None
    candidates: tuple[str, ...] = ()


def bisect(
    tree: Worktree, good: str, bad: str, signature: str, try_out: Try, told: Callable[[Step, str], None]
) -> Found:
    """Searches the first bad commit.

    Args:
        good, bad: full ids of commits.
        signature: of the crash that makes a commit bad; empty for any failure that the bad commit shows.
        told: called after each step with git's words on how many are left.

    Raises:
        ConfigurationError: the bad commit shows nothing bad or cannot be tried, the good one shows the same,
            or git cannot search between them.
        HostError: see `trial.attempt`.
    """
    criterion = _Criterion(signature)
    found = Found()

    def step(commit: str, left: str = "") -> Step:
        done = criterion.judge(commit, tree.subject(commit), try_out(criterion.names))
        found.steps.append(done)
        told(done, left)
        return done

    tree.check_out(bad)
    worst = step(bad)
    if worst.verdict is not Verdict.BAD:
        raise ConfigurationError(
            f"The bad commit {bad[:12]} is not bad: {worst.why}.",
            remedy="Name a commit at which the scenario fails, or choose others with -k or --signature.",
        )
    criterion.learn(worst)
    tree.check_out(good)
    best = step(good)
    if best.verdict is Verdict.BAD:
        criterion.forget(best)
        if not criterion.names:
            raise ConfigurationError(
                f"The good commit {good[:12]} is bad, too: {best.why}.", remedy="Name an older commit."
            )
    _search(tree, good, bad, found, worst, step)
    return found


class _Criterion:
    """What makes a commit bad."""

    def __init__(self, signature: str) -> None:
        self._signature = parted(signature) if signature else None
        self._load = False
        self.names: frozenset[str] | None = None

    def judge(self, commit: str, subject: str, trial: Trial) -> Step:
        verdict, why, bad = self._judged(trial)
        return Step(commit, subject, verdict, why, trial.seconds, bad)

    def _judged(self, trial: Trial) -> tuple[Verdict, str, tuple[ScenarioResult, ...]]:
        if trial.unusable:
            return Verdict.SKIP, trial.unusable, ()
        if trial.refused and not trial.results:
            first = self.names is None and self._signature is None
            return Verdict.BAD if self._load or first else Verdict.SKIP, trial.refused, ()
        failed = tuple(one for one in trial.results if one.outcome in BAD)
        bad = tuple(one for one in failed if self._is_it(one))
        if bad:
            return Verdict.BAD, ", ".join(f"{one.name} {one.outcome}" for one in bad[:3]), bad
        if failed:
            return Verdict.SKIP, f"{failed[0].name} {failed[0].outcome} in another way", ()
        return Verdict.GOOD, f"{len(trial.results)} passed", ()

    def _is_it(self, result: ScenarioResult) -> bool:
        if self._signature is None:
            return True
        return result.crash is not None and same_crash(self._signature, parted(result.crash.signature))

    def learn(self, worst: Step) -> None:
        """From now on, only what is bad at the bad commit is tried."""
        self._load = not worst.bad
        self.names = None if self._load else frozenset(one.name for one in worst.bad)

    def forget(self, best: Step) -> None:
        """What is bad at the good commit, too, is not what is searched."""
        self.names = (self.names or frozenset()) - {one.name for one in best.bad}


def _search(
    tree: Worktree, good: str, bad: str, found: Found, worst: Step, step: Callable[[str, str], Step]
) -> None:
    tried = {worst.commit: worst}
    said = tree.git("bisect", "start", bad, good)
    while True:
        text = said.text + said.stderr.decode("utf-8", "replace")
        if first := re.search(r"^([0-9a-f]{40,64}) is the first bad commit", text, re.MULTILINE):
            found.first_bad = tried[first[1]]
            return
        if "only 'skip'ped commits left" in text:
            after = text.partition("could be any of:")[2]
            found.candidates = tuple(re.findall(r"^([0-9a-f]{40,64})$", after, re.MULTILINE))
            return
        if said.code:
            raise ConfigurationError(
                f"git cannot search between {good[:12]} and {bad[:12]}: {said.said}.",
                remedy="The good commit must be older than the bad one, in the same history.",
            )
        left = re.search(r"Bisecting: (.*)", text)
        commit = tree.head
        done = tried[commit] = step(commit, left[1] if left else "")
        said = tree.git("bisect", str(done.verdict))

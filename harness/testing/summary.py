"""What winvm prints below a session's results: counts, crashes, and skips by capability."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from harness.display.terminal import printable, wrapped

if TYPE_CHECKING:
    from harness.outcome import RunResult, ScenarioResult, Subresult

SHOWN_SIGNATURES = 20
SHOWN_SKIPS = 20
SHOWN_BAD = 50
SHOWN_DIFFERING = 50
SCREENSHOT = "screenshot.png"
LACKS = "guest lacks "


class Tally:
    """What a session's results say beyond their outcomes.

    Attributes:
        unexpected: results with a crash that no scenario expected.
        skips: why results were skipped -> how often; of several missing capabilities, each counts.
        differing: known differences of the guest that were seen: scenario -> what its profile says.
        bad: outcome and name of what neither passed nor was skipped.
        subresults: scenario -> the tests that a program of its newest run reported.
        screenshots: scenario -> the picture of a crash that it did not expect.
    """

    def __init__(self) -> None:
        self.unexpected = 0
        self.skips: Counter[str] = Counter()
        self.differing: dict[str, str] = {}
        self.bad: list[tuple[str, str]] = []
        self.subresults: dict[str, Sequence[Subresult]] = {}
        self.screenshots: dict[str, Path] = {}

    def add(self, result: ScenarioResult) -> None:
        """Counts one result."""
        from harness.outcome import GOOD, Outcome

        good = result.outcome in GOOD
        self.unexpected += result.crash is not None and not good
        if result.subresults:
            self.subresults[result.name] = result.subresults
        if result.crash and not good and (picture := result.crash.folder / SCREENSHOT).is_file():
            self.screenshots[result.name] = picture
        if not good:
            self.bad.append((result.outcome, printable(result.name)))
        if result.outcome is Outcome.DIFFERS:
            self.differing[printable(result.name)] = printable(result.message.partition("\n")[0])
        if result.outcome is Outcome.SKIPPED:
            message = printable(result.message.partition("\n")[0])
            lacked = message.removeprefix(LACKS).split(", ") if message.startswith(LACKS) else ()
            self.skips.update([f"{LACKS}{one}" for one in lacked] or [message or "no reason given"])


def crashes_line(run: RunResult, unexpected: int) -> str:
    """`guest wine: 217 scenarios, 8 crashes: all expected`."""
    total = sum(run.counts.values())
    if not total and not run.crashes:
        return f"guest {run.guest}: no scenario ran"
    line = f"guest {run.guest}: {total} scenario{'' if total == 1 else 's'}"
    if not run.crashes:
        return f"{line}, no crash"
    line += f", {run.crashes} crash{'' if run.crashes == 1 else 'es'}"
    line += f", {len(run.signatures)} different" if 1 < len(run.signatures) != run.crashes else ""
    if not unexpected:
        return f"{line}: {'expected' if run.crashes == 1 else 'all expected'}"
    return f"{line}: {run.crashes - unexpected} expected, {unexpected} unexpected"


def grouped(signatures: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    """A run's crashes as text: one line per signature, with its scenarios."""
    for signature, scenarios in islice(signatures.items(), SHOWN_SIGNATURES):
        names = (f"{name} x{count}" if count > 1 else name for name, count in scenarios.items())
        yield f"  {signature}: {printable(', '.join(names))}"
    if len(signatures) > SHOWN_SIGNATURES:
        yield f"  {len(signatures) - SHOWN_SIGNATURES} more are in results.json"


def summary(run: RunResult, tally: Tally, *, names: bool = True) -> Iterator[str]:
    """The lines between pytest's own report and the path of the artifacts.

    Args:
        names: what did not pass by name, in place of the list of node ids that pytest prints.
    """
    if names:
        for outcome, name in tally.bad[:SHOWN_BAD]:
            yield f"{outcome} {name}"
        if len(tally.bad) > SHOWN_BAD:
            yield f"{len(tally.bad) - SHOWN_BAD} more are in results.json"
    yield crashes_line(run, tally.unexpected)
    for line in grouped(run.signatures):
        yield from wrapped(line)
    for name, message in islice(tally.differing.items(), SHOWN_DIFFERING):
        yield from wrapped(f"  {name} {message}")
    if len(tally.differing) > SHOWN_DIFFERING:
        yield f"  {len(tally.differing) - SHOWN_DIFFERING} more differ here: see results.json"
    for why, count in tally.skips.most_common(SHOWN_SKIPS):
        yield from wrapped(f"  {count} skipped: {why}")
    if len(tally.skips) > SHOWN_SKIPS:
        yield f"  {len(tally.skips) - SHOWN_SKIPS} more reasons are in results.json"
    if run.missing_capabilities:
        yield from wrapped("not tested on this guest: " + ", ".join(run.missing_capabilities))

"""The run's timeline: the steps of run.jsonl as bars in lanes, and the time spent in each lane.

However long the run was, there are at most about as many bars as a screen has columns.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.journal import Event, StepKind
from harness.outcome import Outcome
from harness.report.evidence import text

LANES = ("Host", "Guest", "Agent", "Scenarios", "Crashes")
LABEL_CHARACTERS = 120
COLUMNS = 1000
"""Bars narrower than a column join their neighbour of the same state."""
COLUMNS_SEEN = 250
"""Bars of failures, crashes and open steps are at least one of these columns wide."""
TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Distances between marks on the time axis, in seconds."""
MOST_TICKS = 6
DEEPEST = 1000
"""Steps under way at once that are followed; winvm nests a handful."""
_LANE_OF: dict[str, str] = {
    StepKind.BOOT: "Guest",
    StepKind.RESTORE: "Guest",
    StepKind.END: "Guest",
    StepKind.DEPLOY: "Agent",
    StepKind.DRIVER: "Agent",
    StepKind.SCENARIO: "Scenarios",
    StepKind.CRASH: "Crashes",
}
"""Kinds that are not here are the host's own work."""
_KIND_OF_NAME = {
    "start guest": StepKind.BOOT,
    "restore guest": StepKind.RESTORE,
    "save guest with agent": StepKind.RESTORE,
    "suspend guest": StepKind.RESTORE,
    "resume guest": StepKind.RESTORE,
    "end guest": StepKind.END,
    "deploy": StepKind.DEPLOY,
    "start agent": StepKind.DEPLOY,
    "meet agent": StepKind.DEPLOY,
    "unload driver": StepKind.DRIVER,
    "keep crash evidence": StepKind.CRASH,
}
"""Steps of runs recorded before steps had kinds; nothing is added here."""
OPEN = "open"
"""State of a step that never ended."""


@dataclass(frozen=True)
class Bar:
    """Steps of a lane. state: `ok`, `failed`, `open`, `crash` or an outcome; x, width: percent of the run."""

    lane: str
    label: str
    state: str
    x: float
    width: float


@dataclass
class _Step:
    lane: str
    name: str
    start: float
    nested: float = 0.0


@dataclass(frozen=True)
class Timeline:
    """Bars, marks (percent, seconds), seconds by lane (each moment once), and steps that never ended."""

    seconds: float
    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, float], ...]
    spent: dict[str, float] = field(default_factory=dict)
    unfinished: tuple[str, ...] = ()

    def lane(self, name: str) -> list[Bar]:
        """The bars of one lane."""
        return [bar for bar in self.bars if bar.lane == name]


def lane_of(event: Event) -> str:
    """The lane of a step, from its start or end event: by its kind, whatever its name."""
    kind = event.get("kind")
    if kind is None:
        kind = _kind_of_name(str(event.get("step", "")))
    return _LANE_OF.get(kind, "Host") if isinstance(kind, str) else "Host"


def _kind_of_name(name: str) -> StepKind:
    if name.startswith("scenario "):
        return StepKind.SCENARIO
    if name.startswith("load driver"):
        return StepKind.DRIVER
    return _KIND_OF_NAME.get(name, StepKind.SETUP)


def timeline(events: Iterable[Event], started: float, seconds: float) -> Timeline:
    """Reads a journal.

    Args:
        started: when the run began, UNIX seconds.
        seconds: how long the run took; the timeline is longer if the journal is.
    """
    running: list[_Step] = []
    spans: list[tuple[str, str, str, float, float]] = []
    spent = dict.fromkeys(LANES, 0.0)
    last = 0.0
    for event in events:
        last = max(last, now := event["time"] - started)
        kind, name = event.get("event"), str(event.get("step", ""))
        if kind == "start" and len(running) < DEEPEST:
            running.append(_Step(lane_of(event), name, now))
        elif kind == "end":
            at = next((i for i in reversed(range(len(running))) if running[i].name == name), None)
            if at is None:
                continue
            step = running.pop(at)
            lasted = now - step.start
            spent[step.lane] += max(0.0, lasted - step.nested)
            if at:
                running[at - 1].nested += lasted
            state = str(event.get("outcome", "ok" if event.get("ok") else "failed"))
            spans.append((step.lane, name, state, step.start, now))
        elif kind == "result" and isinstance(crash := event.get("crash"), dict):
            when = crash.get("time")
            when = when - started if isinstance(when, int | float) else now
            spans.append(("Crashes", f"crash in {event.get('name', '')}", "crash", when, when))
    total = max(seconds, last, 0.001)
    spans += [(step.lane, step.name, OPEN, step.start, total) for step in running]
    return Timeline(
        total,
        tuple(_bars(spans, total)),
        tuple(_ticks(total)),
        {lane: value for lane, value in spent.items() if value > 0},
        tuple(text(step.name) for step in running[:10]),
    )


def _bars(spans: Iterable[tuple[str, str, str, float, float]], total: float) -> list[Bar]:
    made: list[Bar] = []
    newest: dict[tuple[str, str], int] = {}
    column, seen = 100.0 / COLUMNS, 100.0 / COLUMNS_SEEN
    for lane, name, state, start, end in sorted(spans, key=lambda span: span[3]):
        x = min(max(start / total * 100, 0.0), 100.0)
        narrowest = column if state in _QUIET else seen
        width = min(max((end - start) / total * 100, narrowest), 100.0 - x)
        label = text(name.removeprefix("scenario "), LABEL_CHARACTERS)
        label += f", {end - start:.2f} s" if end > start else ""
        key = (lane, state)
        if key in newest:
            bar = made[newest[key]]
            if x < bar.x + bar.width + column / 2 and (width <= narrowest or bar.width <= narrowest):
                width = max(bar.width, x + width - bar.x)
                made[newest[key]] = Bar(lane, f"{bar.label.removesuffix(' …')} …", state, bar.x, width)
                continue
        newest[key] = len(made)
        made.append(Bar(lane, label, state if state in _STATES else "ok", x, width))
    return sorted(made, key=lambda bar: bar.state not in _QUIET)  # the bar drawn last is on top


def _ticks(total: float) -> list[tuple[float, float]]:
    step = next((tick for tick in TICKS if total / tick <= MOST_TICKS), total)
    return [(number * step / total * 100, number * step) for number in range(int(total / step) + 1)]


_QUIET = {"ok", Outcome.PASSED, Outcome.SKIPPED, Outcome.DIFFERS}
_STATES = {"ok", "failed", OPEN, "crash", *Outcome}

"""`winvm history --html`: the history as a static site, which needs neither a server nor a network.

Pages: runs with a trend, scenarios with their newest outcomes, crashes, and one page for each night. The
template escapes what comes from runs. The filter box's script is named by its hash in the page's own policy.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import jinja2

from harness.display.terminal import printable
from harness.errors import HostError
from harness.outcome import GOOD, Outcome
from harness.report.digest import BAD
from harness.report.history import History, RunEntry, Sighting
from harness.report.page import duration, moment
from harness.report.story import STRIP, ScenarioStory, Seen, told
from harness.run.origin import BRANCH, NIGHT, URL

RUNS = 1000
"""Newest runs that are shown."""
TREND = 200
"""Newest runs in the trend."""
TOP = 15
"""Rows of the slowest and the flakiest."""
CRASHES = 500
SCRIPT = """
document.querySelectorAll("input.filter").forEach(box => box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/);
  document.querySelectorAll("tbody tr").forEach(row => {
    const text = row.textContent.toLowerCase();
    row.hidden = !words.every(word => text.includes(word));
  });
}));
document.documentElement.dataset.filter = "on";
"""
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Written:
    """What was written: numbers of pages, and of runs in them."""

    pages: int
    runs: int


@dataclass(frozen=True)
class ScenarioRow:
    """A scenario in a cell; `flips`: how often its outcome changed between runs of one driver."""

    story: ScenarioStory
    flips: int


@dataclass
class NightPage:
    """The runs of one night, and (run, scenario, outcome) of what did not pass in them."""

    name: str
    runs: list[RunEntry] = field(default_factory=list)
    bad: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class CrashRow:
    """One signature: its newest sighting first in `newest`, and the first unexpected one."""

    signature: str
    runs: int
    times: int
    unexpected: int
    scenarios: tuple[str, ...]
    first: Sighting
    newest: Sighting


def write_site(history: History, folder: Path, now: float | None = None) -> Written:
    """Writes every page below `folder`, which is made; files of other names there are left alone.

    Args:
        now: UNIX time that the pages name; by default, the present.

    Raises:
        HostError: the history cannot be read, or the folder cannot be written to.
    """
    runs = history.runs(RUNS)
    scenarios = _scenarios(history)
    crashes = _crashes(history.sightings())
    nights = _nights(history, runs)
    shared = {"script": SCRIPT, "policy": _policy(), "made": now or time.time(), "css": _css()}
    trend = list(reversed(runs[:TREND]))
    pages: dict[str, dict[str, object]] = {
        "index.html": {
            "runs": runs,
            "trend": trend,
            "most": max((sum(r.counts.values()) for r in trend), default=1),
        },
        "scenarios.html": {
            "rows": scenarios,
            "slowest": sorted(scenarios, key=_slowness, reverse=True)[:TOP],
            "flakiest": sorted((r for r in scenarios if r.flips), key=lambda r: r.flips, reverse=True)[:TOP],
        },
        "crashes.html": {"crashes": crashes},
        **{f"nights/{night.name}.html": {"night": night} for night in nights},
    }
    template = _environment().get_template("site.html")
    try:
        (folder / "nights").mkdir(parents=True, exist_ok=True)
        for name, values in pages.items():
            up = "../" if "/" in name else ""
            text = template.render(page=name, up=up, nights=nights, **shared, **values)
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise HostError(
            f"The site in {folder} cannot be written: {error.strerror}.",
            remedy="Free disk space, or name another folder.",
        ) from error
    return Written(len(pages), len(runs))


def _slowness(row: ScenarioRow) -> float:
    return row.story.durations.median if row.story.durations else 0.0


def _scenarios(history: History) -> list[ScenarioRow]:
    """Every scenario in every cell, by name."""
    found: dict[tuple[str, str], tuple[list[Seen], list[str]]] = {}
    for scenario, cell, run, git, outcome, seconds, driver in history.rows(
        "SELECT scenario, cell, run, git, outcome, guest_seconds, driver FROM ("
        "SELECT *, ROW_NUMBER() OVER (PARTITION BY scenario, cell ORDER BY started DESC, run DESC) AS place"
        " FROM executions) WHERE place <= ?1 ORDER BY scenario, cell, place DESC",
        STRIP,
    ):
        seen, drivers = found.setdefault((scenario, cell), ([], []))
        seen.append(Seen(run, git, outcome, seconds))
        drivers.append(driver)
    return [
        ScenarioRow(told(scenario, cell, seen), _flips(seen, drivers))
        for (scenario, cell), (seen, drivers) in found.items()
    ]


def _flips(seen: Sequence[Seen], drivers: Sequence[str]) -> int:
    """Changes between passing and not, where the driver, or the clean commit, stayed the same."""
    same = (
        (one, other)
        for (one, built), (other, then) in pairwise(zip(seen, drivers, strict=True))
        if built == then or (one.commit == other.commit and one.commit and not one.commit.endswith("+"))
    )
    return sum((one.outcome in BAD) != (other.outcome in BAD) for one, other in same)


def _crashes(sightings: Sequence[Sighting]) -> list[CrashRow]:
    """One row for each signature, that seen last first."""
    groups: dict[str, list[Sighting]] = {}
    for one in sightings:
        groups.setdefault(one.signature, []).append(one)
    rows = [
        CrashRow(
            signature,
            len({one.run for one in seen}),
            sum(one.times for one in seen),
            sum(one.times - one.expected for one in seen),
            tuple(sorted({one.scenario for one in seen})),
            next((one for one in seen if one.times > one.expected), seen[0]),
            seen[-1],
        )
        for signature, seen in groups.items()
    ]
    return sorted(rows, key=lambda row: row.newest.started, reverse=True)[:CRASHES]


def _nights(history: History, runs: Sequence[RunEntry]) -> list[NightPage]:
    """The nights among the runs, newest first; older runs of nights do not name theirs: it is the day."""
    found: dict[str, NightPage] = {}
    place = {}
    for run in runs:
        if run.kind == "night":
            named = run.environment.get(NIGHT, "")
            name = (
                named
                if re.fullmatch(r"[0-9A-Za-z-]{1,40}", named)
                else time.strftime("%Y%m%d", time.localtime(run.started))
            )
            night = place[run.run] = found.setdefault(name, NightPage(name))
            night.runs.append(run)
    rows = history.rows(
        "SELECT run, scenario, outcome FROM executions WHERE kind = 'night'"
        " AND outcome NOT IN ('passed', 'differs')"
        " ORDER BY scenario"
    )
    for run_id, scenario, outcome in rows:
        if run_id in place:
            place[run_id].bad.append((run_id, scenario, outcome))
    return list(found.values())


def _policy() -> str:
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"


def _css() -> str:
    return (HERE / "site.css").read_text(encoding="utf-8")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {
        "duration": duration,
        "moment": moment,
        "shown": printable,
        "address": lambda run: (
            url if re.fullmatch(r"https?://[!-~]+", url := run.environment.get(URL, "")) else ""
        ),
        "branch": lambda run: printable(run.environment.get(BRANCH, "")),
        "commit": lambda git: git[:10] + ("+" if git.endswith("+") else ""),
        "bad": lambda run: sum(run.counts.get(outcome, 0) for outcome in BAD),
        "mark": lambda outcome: "p" if outcome in GOOD else "c" if outcome == Outcome.CRASHED else "f",
    }
    return environment

"""report.html: a run as one page without scripts, readable on a phone.

No value in it is trusted: Jinja2 escapes every one, control characters are replaced before, and the page's
content security policy forbids scripts and any request.
"""

from __future__ import annotations

import re
import shlex
import time
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from harness.coverage.recorded import recorded_coverage
from harness.display.terminal import printable
from harness.outcome import Outcome
from harness.report.digest import BAD, GRAVITY, CrashGroup, Digest, Row
from harness.report.evidence import screenshot
from harness.report.news import News, Since
from harness.report.recorded import RecordedRun
from harness.report.timeline import LANES, timeline
from harness.report.writer import Reported
from harness.run.origin import BRANCH, COMMIT, DIRTY, DRIVER, URL

FILE_NAME = "report.html"
SHOWN_ROWS = 1500
SHOWN_FAILURES = 200
SHOWN_CRASHES = 25
SCREENSHOTS = 8
_FOLDER = Path(__file__).parent
_WORDS = {
    Outcome.PASSED: "passed",
    Outcome.DIFFERS: "differ here",
    Outcome.FAILED: "failed",
    Outcome.ERROR: "with errors",
    Outcome.LOST: "lost",
    Outcome.HUNG: "hung",
    Outcome.CRASHED: "crashed",
    Outcome.SKIPPED: "skipped",
}


def render(run: RecordedRun, digest: Digest, since: Since | None) -> str:
    """The page.

    Args:
        digest: of the same run.
        since: None when there is no history to compare with.
    """
    rows = list(digest.rows.values())
    bad = sorted((row for row in rows if row.outcome in BAD), key=lambda row: -GRAVITY.index(row.outcome))
    groups = sorted(digest.crashes.values(), key=lambda group: (not group.unexpected, -group.times))
    shown_rows = [*bad, *(row for row in rows if row.outcome not in BAD)][:SHOWN_ROWS]
    steps = timeline(run.events(), digest.record.started, digest.record.seconds)
    values = {
        "css": Markup((_FOLDER / "page.css").read_text(encoding="utf-8")),  # noqa: S704 - our own file
        "record": digest.record,
        "digest": digest,
        "verdict": _verdict(digest),
        "counts": [
            (outcome, _WORDS[outcome], count)
            for outcome in reversed(GRAVITY)
            if (count := digest.count(outcome))
        ],
        "unexpected": sum(group.unexpected for group in groups),
        "since": since,
        "failing": since.failing if since else {},
        "origin": _origin(digest),
        "again": _again,
        "artifacts": f"{digest.folder.resolve().parent.name}/{digest.folder.name}",
        "marks": _marks(since.news if since else News()),
        "bad": bad[:SHOWN_FAILURES],
        "told": {row.name for row in bad[:SHOWN_FAILURES]},
        "bad_left_out": max(0, len(bad) - SHOWN_FAILURES),
        "crashes": groups[:SHOWN_CRASHES],
        "crashes_left_out": max(0, len(groups) - SHOWN_CRASHES),
        "pictures": _pictures(groups[:SHOWN_CRASHES]),
        "kinds": _by_kind(rows, {row.name for row in shown_rows}),
        "rows_left_out": len(rows) - len(shown_rows),
        "longest": max((row.seconds[1] for row in rows), default=0.0),
        "timeline": steps,
        "timeline_cut": run.events_cut,
        "lanes": LANES,
        "skipped": _skipped(rows),
        "differing": [row for row in rows if row.outcome is Outcome.DIFFERS],
        "coverage": recorded_coverage(run.folder),
    }
    return _environment().get_template("page.html").render(values)


def write(run: RecordedRun, digest: Digest, since: Since | None) -> Path:
    """Writes the page into the run's folder atomically: a reader sees the old page or the whole new one.

    Raises:
        OSError: the disk is full or the folder is gone.
    """
    path = run.folder / FILE_NAME
    partial = path.with_name(f"{FILE_NAME}.partial")
    partial.write_text(render(run, digest, since), encoding="utf-8")
    return partial.replace(path)


class PageWriter:
    """Implements `ReportWriter`."""

    file_name = FILE_NAME

    def write(self, reported: Reported) -> Path:
        """See `ReportWriter`."""
        return write(reported.run, reported.digest, reported.since)


WRITER = PageWriter()


def duration(seconds: float) -> str:
    """A duration as text, such as `2 min 5 s`."""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (rest if not hours else 0, "s")]
    return " ".join(f"{number} {unit}" for number, unit in parts if number)


def moment(unix: float) -> str:
    """A date and time in UTC; `unknown` for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix)) if unix else "unknown"


def _origin(digest: Digest) -> list[tuple[str, str, str]]:
    """(title, text, address) of the driver, its commit, and the CI job; what is not known is left out."""
    known = digest.record.environment
    commit = known.get(COMMIT, "")[:12] + (" with changes" if known.get(DIRTY) else "")
    branch = f" on {known[BRANCH]}" if known.get(BRANCH) else ""
    url = known.get(URL, "")
    rows = [
        ("Driver", known.get(DRIVER, ""), ""),
        ("Commit", f"{commit}{branch}" if known.get(COMMIT) else "", ""),
    ]
    rows += [("CI", "the job", url)] if re.fullmatch(r"https?://[!-~]+", url) else []
    return [row for row in rows if row[1]]


def _again(row: Row) -> str:
    """The command that runs a scenario again, on the build that it ran against."""
    name, _, build = row.name.partition("@")
    return f"winvm run {shlex.quote(name)}" + (f" --build {shlex.quote(build)}" if build else "")


def _verdict(digest: Digest) -> tuple[str, str]:
    """(class, headline)."""
    if digest.count(Outcome.CRASHED, Outcome.HUNG):
        found = "crashed", "The driver took the guest down"
    elif digest.count(Outcome.LOST):
        found = "lost", "The guest was lost"
    elif failed := digest.count(Outcome.FAILED, Outcome.ERROR):
        found = "failed", f"{failed} scenario{'s' * (failed > 1)} failed"
    elif digest.record.broke_off:
        found = "broken", "The run was aborted"
    elif not digest.rows or not digest.count(Outcome.PASSED, Outcome.DIFFERS):
        found = "broken", "Nothing was tested"
    else:
        found = "passed", "Passed"
    return found


def _marks(news: News) -> dict[str, str]:
    """Name of a scenario or signature -> the word beside it."""
    words = {
        "new": (*news.failing, *news.crashes),
        "fixed": news.fixed,
        "flaky": news.flaky,
        "slower": news.slower,
    }
    words["known"] = (*news.still_failing, *news.known_crashes)
    return {name: word for word, names in words.items() for name in names}


def _by_kind(rows: list[Row], shown: set[str]) -> list[tuple[str, list[Row], Counter[Outcome], float]]:
    """(kind, its rows, outcomes, seconds in all), in the order of the run."""
    kinds: dict[str, list[Row]] = {}
    for row in rows:
        if row.name in shown:
            kinds.setdefault(row.kind, []).append(row)
    return [
        (kind, found, Counter(row.outcome for row in found), sum(row.seconds[1] for row in found))
        for kind, found in kinds.items()
    ]


def _pictures(groups: list[CrashGroup]) -> dict[str, str]:
    """Signature -> screenshot as a data URI, for as many as fit on the page."""
    found: dict[str, str] = {}
    for group in groups:
        folder = next((folder for folder in group.folders if folder), None)
        if folder and len(found) < SCREENSHOTS and (picture := screenshot(folder)):
            found[group.signature] = picture
    return found


def _skipped(rows: list[Row]) -> list[tuple[str, int]]:
    """(reason, how many scenarios), most first."""
    return Counter(row.message for row in rows if row.outcome is Outcome.SKIPPED).most_common()


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=jinja2.FileSystemLoader(_FOLDER),
        finalize=_without_controls,
    )
    environment.filters |= {"duration": duration, "moment": moment, "path": quote}
    return environment


def _without_controls(value: Any) -> Any:
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value

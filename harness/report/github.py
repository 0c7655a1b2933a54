"""GitHub Actions: failures as annotations of the changed lines, and a summary of the run.

A runner takes every line `::name::` of a step's output for a command, and a guest can print such a line.
Therefore commands are switched off while a run prints, and guest text in a command is always escaped.

Source: "Workflow commands for GitHub Actions" of GitHub's documentation (stop-commands, error, escaping).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.display.markdown import code, plain
from harness.report.digest import GRAVITY, Digest
from harness.report.findings import Finding
from harness.report.news import Since
from harness.report.page import duration

SHOWN = 50
"""Annotations and lines of each list in the summary; GitHub itself shows 10 annotations of a step."""


class Silence:
    """Lines that switch the runner's commands off and on; between them, the runner executes no command."""

    def __init__(self) -> None:
        token = secrets.token_hex(16)  # the guest must not be able to guess it
        self.begin = f"::stop-commands::{token}"
        self.end = f"::{token}::"


def error_commands(found: Iterable[Finding]) -> list[str]:
    """One `error` command per finding."""
    lines = []
    for finding in list(found)[:SHOWN]:
        where = {"file": finding.file, "line": str(finding.line)} if finding.file else {}
        properties = {**where, "title": f"{finding.outcome}: {finding.scenario}"}
        listed = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        lines.append(f"::error {listed}::{_data(finding.message)}")
    return lines


def summary(digest: Digest, found: Iterable[Finding], since: Since | None) -> str:
    """The run in Markdown."""
    record = digest.record
    counts = [f"{count} {outcome}" for outcome in reversed(GRAVITY) if (count := digest.count(outcome))]
    lines = [
        f"### winvm: {plain(record.cell or record.guest)}",
        "",
        f"{', '.join(counts) or 'No scenario was run'}, in {duration(record.seconds)}.",
        "",
    ]
    if record.broke_off:
        lines += [f"The run did not reach its end: {plain(record.broke_off.strip())}", ""]
    if since and since.run:
        news = since.news
        for title, names in (
            ("New crashes", news.crashes),
            ("Newly failing", news.failing),
            ("Fixed", news.fixed),
            ("Crashes gone", news.fixed_crashes),
            ("Flaky", news.flaky),
            ("Slower", news.slower),
        ):
            if names:
                lines.append(f"- {title}: {', '.join(map(code, names[:SHOWN]))}")
        lines.append("")
    rows = [
        f"| {finding.outcome} | {code(finding.scenario)} | {plain(finding.message)} |" for finding in found
    ]
    if rows:
        lines += ["| outcome | scenario | |", "|---|---|---|", *rows[:SHOWN], ""]
    if record.missing_capabilities:
        lines += [f"Not tested on this guest: {', '.join(map(plain, record.missing_capabilities))}.", ""]
    return "\n".join(lines)


def append_summary(text: str, environment: Mapping[str, str] = os.environ) -> None:
    """Appends to the step's summary file, if GitHub names one.

    Raises:
        OSError: that file cannot be written.
    """
    if named := environment.get("GITHUB_STEP_SUMMARY"):
        with Path(named).open("a", encoding="utf-8") as file:
            file.write(text + "\n")


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")

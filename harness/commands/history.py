"""`winvm history`: what became of scenarios and crashes over the runs of a project."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.commands.history_show import crash_document
from harness.display.terminal import printable
from harness.errors import ConfigurationError

if TYPE_CHECKING:
    from harness.report.history import History, RunEntry, Sighting
    from harness.report.news import News

LAST = 10
TITLES = {
    "crashes": "new crashes",
    "failing": "newly failing",
    "fixed": "fixed",
    "fixed_crashes": "crashes gone",
    "flaky": "flaky",
    "slower": "slower",
    "known_crashes": "known crashes",
    "still_failing": "still failing",
}
"""Fields of `News` as they are shown, in this order."""


@click.group(invoke_without_command=True)
@click.option(
    "--last", metavar="N", type=click.IntRange(1), default=LAST, show_default=True, help="Runs to show."
)
@click.option("--nightly", "kind", flag_value="night", help="Only runs of nights.")
@click.option("--smoke", "kind", flag_value="smoke", help="Only smoke runs.")
@click.option("--guest", metavar="PROFILE", help="Only runs in this guest.")
@click.option("--build", metavar="NAME", help="Only runs of this driver build.")
@click.option(
    "--html", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), help="Write it as a web site."
)
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def history(
    context: click.Context,
    last: int,
    kind: str | None,
    guest: str | None,
    build: str | None,
    html: Path | None,
    as_json: bool,
) -> None:
    """Show what is new, fixed, flaky and known over the last runs: of `run`, `nightly` and `smoke`.

    Runs are compared within their cell: the same guest, `--build` and `--label`; nights with nights. Runs of
    chosen scenarios are marked `partial`: they change nothing of what is known.
    """
    if context.invoked_subcommand:
        return
    if html:
        _write_site(context.obj, html)
        return
    with _open(context.obj) as found:
        runs = found.runs(last, kind=kind, guest=guest, build=build)
        newest = {run.cell: run for run in reversed(runs)}
        news = {cell: found.news(run.run) for cell, run in newest.items()}
        filtered = bool(kind or guest or build)
        sightings = [one for one in found.sightings() if not filtered or one.run in {run.run for run in runs}]
    signatures = _by_signature(sightings)
    if as_json:
        document = {
            "runs": [dataclasses.asdict(run) for run in runs],
            "cells": {
                cell: {"run": run.run, **dataclasses.asdict(news[cell])} for cell, run in newest.items()
            },
            "crashes": [crash_document(signature, seen) for signature, seen in signatures.items()],
        }
        click.echo(json.dumps(document, indent=1))
        return
    if not runs:
        click.echo("No run yet.")
        return
    click.echo(f"{'run':22} {'kind':5} {'cell':14} {'commit':9} scenarios")
    for run in runs:
        commit = run.commit[:8] + "+" * run.commit.endswith("+")
        click.echo(f"{run.run:22} {run.kind:5} {printable(run.cell):14} {commit:9} {_counts(run)}".rstrip())
    for cell, changed in news.items():
        _show_news(cell, newest[cell], changed)
    if signatures:
        click.echo("\ncrashes")
    for signature, seen in signatures.items():
        runs_seen = len({one.run for one in seen})
        expected = all(one.times == one.expected for one in seen)
        click.echo(
            f"  {printable(signature):44} {runs_seen:3} run{'s' * (runs_seen > 1):1}"
            f"  last {seen[-1].run}{'  expected' * expected}"
        )


@history.command()
@click.argument("name", metavar="SCENARIO|SIGNATURE")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def show(context: click.Context, name: str, as_json: bool) -> None:
    """Show one scenario, or one crash by its signature.

    A scenario: its newest outcomes in each cell, the first bad run and its commit, the last good one, and how
    long it takes. A crash: when it was seen, in which scenarios and builds, its stack, and where its evidence
    lies.

    The beginning of a name is enough if no other begins the same way.
    """
    from harness.commands.history_show import show_name

    with _open(context.obj) as found:
        show_name(found, name, as_json=as_json)


def _open(invocation: Invocation) -> History:
    from harness.errors import HostError
    from harness.report.history import History

    folder = load_config(invocation).artifacts_folder
    if not folder.is_dir():
        raise ConfigurationError(f"There are no artifacts in {folder}.", remedy="Run `winvm run` first.")
    found = History(folder)
    if found.set_aside:
        found.close()
        raise HostError(
            f"The history {found.path} was damaged.",
            remedy=f"It was moved to {found.set_aside} and rebuilt from its runs. Run this command again.",
        )
    return found


def _write_site(invocation: Invocation, folder: Path) -> None:
    from harness.report.site import write_site

    with _open(invocation) as found:
        written = write_site(found, folder)
    click.echo(f"wrote {written.pages} pages of {written.runs} runs: {folder / 'index.html'}")


def _by_signature(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """Signature -> its sightings, oldest first. The signature seen most recently comes first."""
    found: dict[str, list[Sighting]] = {}
    for one in sightings:
        found.setdefault(one.signature, []).append(one)
    return dict(sorted(found.items(), key=lambda item: item[1][-1].started, reverse=True))


def _show_news(cell: str, run: RunEntry, news: News) -> None:
    click.echo(f"\n{printable(cell)}, {run.run}: {news.headline or 'nothing changed'}")
    for name, title in TITLES.items():
        for item in getattr(news, name):
            click.echo(f"  {title:14} {printable(item)}")


def _counts(run: RunEntry) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in run.counts.items()) or "none"
    return f"{counts}{', aborted' if run.broke_off else ''}{', partial' if run.partial else ''}"

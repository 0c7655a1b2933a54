"""`winvm history`: what became of scenarios and crashes over the runs of a project."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.display.terminal import printable
from harness.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

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
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def history(context: click.Context, last: int, as_json: bool) -> None:
    """Show what is new, fixed, flaky and known over the last runs.

    Runs are compared within their cell: the same guest, `--build` and `--label`.
    """
    if context.invoked_subcommand:
        return
    with _open(context.obj) as found:
        runs = found.runs(last)
        newest = {run.cell: run for run in reversed(runs)}
        news = {cell: found.news(run.run) for cell, run in newest.items()}
        sightings = found.sightings()
    signatures = _by_signature(sightings)
    if as_json:
        document = {
            "runs": [dataclasses.asdict(run) for run in runs],
            "cells": {
                cell: {"run": run.run, **dataclasses.asdict(news[cell])} for cell, run in newest.items()
            },
            "crashes": [_crash(signature, seen) for signature, seen in signatures.items()],
        }
        click.echo(json.dumps(document, indent=1))
        return
    if not runs:
        click.echo("No run yet.")
        return
    click.echo(f"{'run':22} {'cell':16} scenarios")
    for run in runs:
        click.echo(f"{run.run:22} {printable(run.cell):16} {_counts(run)}")
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
@click.argument("signature")
@click.option("--json", "as_json", is_flag=True, help="Print the same as JSON.")
@click.pass_context
def show(context: click.Context, signature: str, as_json: bool) -> None:
    """Show one crash, by its signature.

    When it was seen, in which scenarios and builds, its stack, and where its evidence lies.

    The beginning of a signature is enough if no other signature begins the same way.
    """
    with _open(context.obj) as found:
        named = _complete(signature, {one.signature for one in found.sightings()})
        seen = found.sightings(named)
        folder = found.path.parent
    crash = _crash(named, seen)
    crash["evidence"] = [
        {**{name: one.evidence.get(name, "") for name in ("folder", "bundle")}, "run": one.run}
        for one in seen
    ]
    newest = seen[-1].evidence
    crash |= {name: newest.get(name, "") for name in ("what", "likely_cause", "stack")}
    if as_json:
        click.echo(json.dumps(crash, indent=1))
        return
    click.echo(printable(crash["signature"]))
    for title, text in (("what", crash["what"]), ("likely cause", crash["likely_cause"])):
        click.echo(f"  {title + ':':13} {printable(text) or 'not analysed'}")
    click.echo(f"  first seen:   {crash['first_seen']}")
    click.echo(f"  last seen:    {crash['last_seen']}, {crash['runs']} runs, {crash['times']} times")
    click.echo(f"  expected:     {crash['expected']} of {crash['times']}")
    click.echo(f"  cells:        {_list(crash['cells'])}")
    click.echo(f"  scenarios:    {_list(crash['scenarios'])}")
    click.echo(f"  drivers:      {_list(crash['drivers'])}")
    if crash["stack"]:
        click.echo("  stack:")
    for line in crash["stack"]:
        click.echo(f"    {printable(line)}")
    click.echo("  evidence:")
    for line in _evidence(crash["evidence"], folder):
        click.echo(f"    {line}")


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


def _by_signature(sightings: Iterable[Sighting]) -> dict[str, list[Sighting]]:
    """Signature -> its sightings, oldest first. The signature seen most recently comes first."""
    found: dict[str, list[Sighting]] = {}
    for one in sightings:
        found.setdefault(one.signature, []).append(one)
    return dict(sorted(found.items(), key=lambda item: item[1][-1].started, reverse=True))


def _crash(signature: str, seen: Sequence[Sighting]) -> dict[str, Any]:
    return {
        "signature": signature,
        "first_seen": seen[0].run,
        "last_seen": seen[-1].run,
        "runs": len({one.run for one in seen}),
        "times": sum(one.times for one in seen),
        "expected": sum(one.expected for one in seen),
        "cells": sorted({one.cell for one in seen}),
        "scenarios": sorted({one.scenario for one in seen}),
        "drivers": sorted({f"{one.build} {one.driver[:12]}" for one in seen if one.driver}),
    }


def _complete(signature: str, known: set[str]) -> str:
    """The known signature that `signature` begins; raises `ConfigurationError` for none or several."""
    if signature in known:
        return signature
    meant = sorted(one for one in known if one.startswith(signature))
    if len(meant) == 1:
        return meant[0]
    near = meant or get_close_matches(signature, known, 3)
    raise ConfigurationError(
        f"The history has {'several crashes' if meant else 'no crash'} {signature!r}.",
        remedy=f"Known: {', '.join(near)}." if near else "List them with `winvm history`.",
    )


def _show_news(cell: str, run: RunEntry, news: News) -> None:
    click.echo(f"\n{printable(cell)}, {run.run}: {news.headline or 'nothing changed'}")
    for name, title in TITLES.items():
        for item in getattr(news, name):
            click.echo(f"  {title:14} {printable(item)}")


def _counts(run: RunEntry) -> str:
    counts = ", ".join(f"{count} {outcome}" for outcome, count in run.counts.items()) or "none"
    return f"{counts}{', aborted' if run.broke_off else ''}"


def _evidence(places: Iterable[dict[str, str]], folder: Path) -> list[str]:
    """Crash folders and bundles that still exist, newest first."""
    named = [place[kind] for place in places for kind in ("folder", "bundle") if place[kind]]
    there = [str(folder / name) for name in dict.fromkeys(reversed(named)) if (folder / name).exists()]
    gone = len(set(named)) - len(there)
    return [*map(printable, there), *([f"{gone} more were removed with their runs"] if gone else [])]


def _list(names: Iterable[str]) -> str:
    return printable(", ".join(names)) or "unknown"

"""`winvm history show`: one crash or one scenario, as text or JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import click

from harness.display.terminal import printable
from harness.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path

    from harness.report.history import History, Sighting
    from harness.report.story import ScenarioStory, Seen

MARKS = {"passed": ".", "differs": "d", "failed": "F", "error": "E", "crashed": "C", "hung": "H", "lost": "L"}
"""Outcomes in a strip of a scenario's executions."""


def show_name(history: History, name: str, *, as_json: bool) -> None:
    """Prints the story of the scenario or crash signature that `name` is, or begins.

    Raises:
        ConfigurationError: the history has none, or several.
    """
    scenarios = {row[0] for row in history.rows("SELECT DISTINCT scenario FROM outcomes")}
    signatures = {row[0] for row in history.rows("SELECT DISTINCT signature FROM crashes")}
    named = complete(name, scenarios, signatures)
    if named in scenarios:
        _scenario(history, named, as_json=as_json)
    else:
        _crash(history, named, as_json=as_json)


def complete(name: str, scenarios: set[str], signatures: set[str]) -> str:
    """The known scenario or signature that `name` is or begins; raises as `show_name`."""
    known = scenarios | signatures
    if name in known:
        return name
    meant = sorted(one for one in known if one.startswith(name))
    if len(meant) == 1:
        return meant[0]
    near = meant or get_close_matches(name, sorted(known), 3)
    raise ConfigurationError(
        f"The history has {'several scenarios or crashes' if meant else 'no crash or scenario'} {name!r}.",
        remedy=f"Known: {', '.join(near[:10])}." if near else "List them with `winvm history`.",
    )


def _scenario(history: History, name: str, *, as_json: bool) -> None:
    from harness.report.story import of_scenario

    stories = of_scenario(history, name)
    if as_json:
        document = {"scenario": name, "cells": [dataclasses.asdict(one) for one in stories]}
        click.echo(json.dumps(document, indent=1))
        return
    click.echo(printable(name))
    if not stories:
        click.echo("  It was skipped in every run.")
    for story in stories:
        _story(story)


def _story(story: ScenarioStory) -> None:
    strip = "".join(MARKS.get(one.outcome, "?") for one in story.seen)
    click.echo(f"  {printable(story.cell)}: {story.times} run{'s' * (story.times != 1)}")
    click.echo(f"    newest last:  {strip}")
    click.echo(f"    first bad:    {_seen(story.first_bad) if story.first_bad else 'no, it passes'}")
    click.echo(f"    last good:    {_seen(story.last_good) if story.last_good else 'none'}")
    if times := story.durations:
        click.echo(
            f"    in the guest: {times.last:.3f} s; median {times.median:.3f} s, "
            f"{times.shortest:.3f} to {times.longest:.3f} s"
        )


def _seen(one: Seen) -> str:
    return f"{one.run}, {one.outcome}{_commit(one.commit)}"


def _commit(commit: str) -> str:
    changed = " with changes" if commit.endswith("+") else ""
    return f", commit {commit[:12].rstrip('+')}{changed}" if commit else ", commit unknown"


def _crash(history: History, signature: str, *, as_json: bool) -> None:
    from harness.report.story import last_good_run

    seen = history.sightings(signature)
    first = next((one for one in seen if one.times > one.expected), seen[0])
    good = last_good_run(history, first)
    crash = crash_document(signature, seen)
    crash["first_bad"] = {"run": first.run, "commit": first.git, "scenario": first.scenario}
    crash["last_good"] = dataclasses.asdict(good) if good else None
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
    click.echo(f"  first bad:    {first.run}{_commit(first.git)}, {printable(first.scenario)}")
    click.echo(f"  last good:    {f'{good.run}{_commit(good.commit)}' if good else 'none before it'}")
    runs, times = _times(crash["runs"], "run"), _times(crash["times"], "time")
    click.echo(f"  last seen:    {crash['last_seen']}, {runs}, {times}")
    click.echo(f"  expected:     {crash['expected']} of {crash['times']}")
    click.echo(f"  cells:        {_list(crash['cells'])}")
    click.echo(f"  scenarios:    {_list(crash['scenarios'])}")
    click.echo(f"  drivers:      {_list(crash['drivers'])}")
    if crash["stack"]:
        click.echo("  stack:")
    for line in crash["stack"]:
        click.echo(f"    {printable(line)}")
    click.echo("  evidence:")
    for line in _evidence(crash["evidence"], history.path.parent):
        click.echo(f"    {line}")


def _times(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def crash_document(signature: str, seen: Sequence[Sighting]) -> dict[str, Any]:
    """What the sightings of a signature, oldest first, have in common, as JSON-ready data."""
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


def _evidence(places: Iterable[dict[str, str]], folder: Path) -> list[str]:
    """Crash folders and bundles that still exist, newest first."""
    named = [place[kind] for place in places for kind in ("folder", "bundle") if place[kind]]
    there = [str(folder / name) for name in dict.fromkeys(reversed(named)) if (folder / name).exists()]
    gone = len(set(named)) - len(there)
    return [*map(printable, there), *([f"{gone} more were removed with their runs"] if gone else [])]


def _list(names: Iterable[str]) -> str:
    return printable(", ".join(names)) or "unknown"

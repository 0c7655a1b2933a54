"""`winvm list`: the scenarios of a project, with what selects and what needs them; boots nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.display.terminal import printable, wrapped
from harness.outcome import Scenario
from harness.project.profile import Profile
from harness.run.known import expected
from harness.run.plan import make_plan
from harness.run.skip import missing
from harness.smoke.selection import select

NAME_WIDTH = 40
"""Facts stand in one column behind names up to this long, and two spaces behind longer ones."""


@click.command(name="list")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option("-k", "keyword", metavar="EXPRESSION", help="Scenarios whose name matches, as pytest's -k.")
@click.option("-m", "marker", metavar="EXPRESSION", help="Scenarios of a kind or tag, as pytest's -m.")
@click.option("--build", "builds", metavar="NAME", multiple=True, help="As they run against this build.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@click.pass_context
def list_scenarios(
    context: click.Context,
    names: tuple[str, ...],
    guest: str | None,
    keyword: str | None,
    marker: str | None,
    builds: tuple[str, ...],
    as_json: bool,
) -> None:
    """List scenarios by file: name, tags, needed capabilities, build. NAME is as for `winvm run`."""
    invocation: Invocation = context.obj
    plan = make_plan(load_config(invocation), guest, builds)
    chosen = select(plan.scenarios, keyword, marker, names, default=None) if plan.scenarios else ()
    profile = expected(plan.profile)
    if as_json:
        click.echo(json.dumps([_document(one, profile) for one in chosen], indent=1))
        return
    for line in _lines(chosen, profile):
        click.echo(line)


def _lines(scenarios: Sequence[Scenario], profile: Profile) -> Iterator[str]:
    width = min(NAME_WIDTH, max((len(one.name) for one in scenarios), default=0))
    files = dict.fromkeys(one.file for one in scenarios)
    for file in files:
        yield printable(os.path.relpath(file))
        for one in scenarios:
            if one.file == file:
                facts = "; ".join(_facts(one, profile))
                yield from wrapped(f"  {printable(one.name):{width}}  {facts}".rstrip(), indent=width + 4)
    skipped = sum(bool(missing(profile, one.needs)) for one in scenarios)
    lacking = f", {skipped} of them skipped on {profile.name}" if skipped else ""
    yield f"{len(scenarios)} scenario{'' if len(scenarios) == 1 else 's'}{lacking}"


def _facts(scenario: Scenario, profile: Profile) -> Iterator[str]:
    """What a person chooses by, beyond the name."""
    module = scenario.name.partition(".")[0]
    if marks := [mark for mark in scenario.marks if mark != module]:
        yield ", ".join(marks)
    if scenario.build and not scenario.name.endswith(f"@{scenario.build}"):
        yield f"build {scenario.build}"
    if scenario.expect_crash:
        yield "expects a crash"
    if scenario.needs:
        absent = missing(profile, scenario.needs)
        yield f"needs {', '.join(scenario.needs)}{f' (not on {profile.name})' if absent else ''}"


def _document(scenario: Scenario, profile: Profile) -> dict[str, object]:
    """One scenario as JSON-ready data; `missing` are the capabilities that the guest lacks."""
    return {
        "name": scenario.name,
        "kind": scenario.kind,
        "summary": scenario.summary,
        "file": str(Path(scenario.file)),
        "line": scenario.line,
        "tags": list(scenario.tags),
        "needs": list(scenario.needs),
        "missing": list(missing(profile, scenario.needs)),
        "build": scenario.build,
        "deadline_s": scenario.deadline_s,
        "expects_crash": scenario.expect_crash is not None,
    }

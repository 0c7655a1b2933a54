"""`winvm compare`: the same scenarios against two builds or two commits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.display.terminal import printable
from harness.errors import ConfigurationError
from harness.project import config as configuration
from harness.project.config import Config
from harness.smoke.run import Request
from harness.versions.compare import LEVEL, Compared, Comparison, Side, take_turns
from harness.versions.compare import compare as compared
from harness.versions.trial import Trial, attempt, end_guest
from harness.versions.worktree import Worktree, commit_of

ROUNDS = 8


@click.command()
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option("--build", metavar="NAME", help="Build of the driver, where A and B are commits.")
@click.option("-k", "keyword", metavar="EXPRESSION", help="Scenarios whose name matches, as pytest's -k.")
@click.option("-m", "marker", metavar="EXPRESSION", help="Scenarios of a kind or tag, as pytest's -m.")
@click.option(
    "--rounds",
    metavar="N",
    type=click.IntRange(1, 100),
    default=ROUNDS,
    show_default=True,
    help="Runs of each.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the comparison as JSON.")
@click.pass_context
def compare(
    context: click.Context,
    first: str,
    second: str,
    names: tuple[str, ...],
    guest: str | None,
    build: str | None,
    keyword: str | None,
    marker: str | None,
    rounds: int,
    as_json: bool,
) -> None:
    """Run the same scenarios against A and B in turns, and say what differs.

    A and B are builds of winvm.toml, or commits. Compared are outcomes, DbgPrint lines without their numbers,
    and durations in the guest: medians, and how probable such a difference is by chance. No fewer than six
    rounds can show a difference in time.

    Exit codes: 0 equal outcomes, 1 an outcome differs, 2 A or B does not build.
    """
    config = load_config(context.obj)
    request = Request(config, guest, keyword, marker, names, default=None)
    with ExitStack() as stack:
        if first in config.driver.builds and second in config.driver.builds:
            stack.callback(end_guest, config.root.resolve(), guest or config.guest.profile)
            artifacts = config.artifacts_folder / "compare"
            load = partial(_load, _file(context.obj, config), artifacts)
            versions = [_try(load, request, (one,)) for one in (first, second)]
        else:
            versions = [
                stack.enter_context(_commit(context.obj, config, one, request, build))
                for one in (first, second)
            ]
        trials = take_turns(rounds, *versions)
    for name, done in zip((first, second), trials, strict=True):
        if done and (reason := done[-1].unusable or done[-1].refused):
            raise ConfigurationError(
                f"{name} cannot be tried: {reason}.", remedy="Correct it, or name another."
            )
    found = compared(*trials)
    if as_json:
        click.echo(json.dumps(_document(found), indent=1))
    else:
        _show(found, first, second)
    context.exit(int(any(one.other_outcome for one in found.scenarios)))


def _file(invocation: Invocation, config: Config) -> Path:
    return invocation.config_path or config.root / configuration.FILE_NAME


def _load(file: Path, artifacts: Path) -> Config:
    return configuration.load(file).with_changes(str(artifacts))


def _try(load: Callable[[], Config], request: Request, builds: tuple[str, ...]) -> Callable[[], Trial]:
    return partial(attempt, load, replace(request, builds=builds))


@contextmanager
def _commit(
    invocation: Invocation, config: Config, name: str, request: Request, build: str | None
) -> Iterator[Callable[[], Trial]]:
    """A commit in a work tree and a warm guest of its own."""
    project = config.root.resolve()
    with Worktree(project, configuration.home() / "versions", commit_of(project, name)) as tree:
        file = tree.project / _file(invocation, config).name
        try:
            load = partial(_load, file, config.artifacts_folder / "compare")
            yield _try(load, request, (build,) if build else ())
        finally:
            end_guest(tree.project, request.guest or config.guest.profile)


def _document(found: Comparison) -> dict[str, object]:
    return {
        "scenarios": [
            {
                **asdict(one),
                "first": _side(one.first),
                "second": _side(one.second),
                "other_outcome": one.other_outcome,
                "other_time": one.other_time,
                "factor": round(one.factor, 4),
            }
            for one in found.scenarios
        ],
        "only": [{"scenario": name, "first": first} for name, first in found.only],
    }


def _side(side: Side) -> dict[str, object]:
    return {**asdict(side), "median": side.median}


def _show(found: Comparison, first: str, second: str) -> None:
    width = max((len(one.name) for one in found.scenarios), default=8)
    names = [printable(name)[:12] for name in (first, second)]
    click.echo(f"{'scenario':{width}}  {names[0]:>12} {names[1]:>12}  difference")
    for one in found.scenarios:
        click.echo(
            f"{printable(one.name):{width}}  {_cell(one.first)} {_cell(one.second)}  {_verdict(one)}".rstrip()
        )
        for line in one.lines:
            click.echo(f"    {printable(line)}")
    for name, in_first in found.only:
        click.echo(f"{printable(name):{width}}  only in {names[0] if in_first else names[1]}")
    called = sum(one.other_time for one in found.scenarios)
    tested = sum(one.probability is not None for one in found.scenarios)
    other = sum(one.other_outcome for one in found.scenarios)
    click.echo(f"\n{other} with another outcome, {called} of {tested} with another duration.")
    if tested:
        click.echo(
            f"By chance alone, about {LEVEL * tested:.1f} of {tested} would be called slower or faster."
        )


def _cell(side: Side) -> str:
    if side.seconds:
        return f"{side.median * 1000:9.2f} ms"
    return f"{side.outcomes[-1] if side.outcomes else '':>12}"


def _verdict(one: Compared) -> str:
    if one.other_outcome:
        counts = [
            ", ".join(f"{side.outcomes.count(kind)} {kind}" for kind in dict.fromkeys(side.outcomes))
            for side in (one.first, one.second)
        ]
        return f"{counts[0]} against {counts[1]}"
    if one.probability is None:
        return ""
    sure = "" if one.other_time else ", not significant"
    return f"{one.factor:5.2f} x (p = {one.probability:.3f}{sure})"

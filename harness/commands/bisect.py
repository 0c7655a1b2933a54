"""`winvm bisect`: the first bad commit between a good and a bad one."""

from __future__ import annotations

import json
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
from harness.report.history import History, cell
from harness.report.historyfile import FILE_NAME
from harness.report.shown import result_lines
from harness.report.story import last_good_commit
from harness.smoke.run import Request
from harness.versions.bisect import Found, Step, Verdict
from harness.versions.bisect import bisect as search
from harness.versions.trial import Trial, attempt, end_guest
from harness.versions.worktree import Worktree, commit_of

LAST_GOOD = "last-good"
COLOURS = {Verdict.GOOD: "green", Verdict.BAD: "red", Verdict.SKIP: "yellow"}
SHOWN = 5


@click.command()
@click.argument("good")
@click.argument("bad")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--guest", metavar="PROFILE", help="Guest profile; default is winvm.toml's.")
@click.option("--build", metavar="NAME", help="Build of the driver; default is each scenario's own.")
@click.option("-k", "keyword", metavar="EXPRESSION", help="Scenarios whose name matches, as pytest's -k.")
@click.option("-m", "marker", metavar="EXPRESSION", help="Scenarios of a kind or tag, as pytest's -m.")
@click.option("--signature", metavar="S", default="", help="Only crashes of this signature are bad.")
@click.option("--json", "as_json", is_flag=True, help="Print the steps and what was found as JSON.")
@click.pass_context
def bisect(
    context: click.Context,
    good: str,
    bad: str,
    names: tuple[str, ...],
    guest: str | None,
    build: str | None,
    keyword: str | None,
    marker: str | None,
    signature: str,
    as_json: bool,
) -> None:
    """Find the first commit between GOOD and BAD at which scenarios stop to pass.

    GOOD and BAD are commits as git names them; GOOD may be `last-good`, the commit of the newest whole run of
    this guest and build in which everything passed. The chosen scenarios, by default all, run at BAD; what
    fails there and not at GOOD is searched. A commit that does not build is skipped. The work tree here stays
    as it is.

    Exit codes: 0 found, 1 only commits that cannot be tried are left, 2 GOOD and BAD do not differ.
    """
    config = load_config(context.obj)
    project = config.root.resolve()
    first = _last_good(config, guest, build) if good == LAST_GOOD else commit_of(project, good)
    last = commit_of(project, bad)
    request = Request(config, guest, keyword, marker, names, builds=(build,) if build else (), default=None)
    file = _file_name(context.obj)
    with Worktree(project, configuration.home() / "versions", last) as tree:
        load = partial(_load, tree.project / file, config.artifacts_folder / "bisect")
        profile = guest or config.guest.profile

        def try_out(only: frozenset[str] | None) -> Trial:
            return attempt(load, replace(request, only=only) if only is not None else request)

        try:
            found = search(tree, first, last, signature, try_out, partial(_tell, quiet=as_json))
        finally:
            end_guest(tree.project, profile)
        lines = tree.described(found.first_bad.commit) if found.first_bad else []
    if as_json:
        click.echo(json.dumps(_document(found), indent=1, default=str))
    else:
        _show(found, lines, (config.root, config.driver_folder))
    context.exit(0 if found.first_bad else 1)


def _file_name(invocation: Invocation) -> str:
    return invocation.config_path.name if invocation.config_path else configuration.FILE_NAME


def _load(file: Path, artifacts: Path) -> Config:
    """The configuration at the commit that is checked out; what runs leave goes to the user's artifacts."""
    return configuration.load(file).with_changes(str(artifacts))


def _last_good(config: Config, guest: str | None, build: str | None) -> str:
    wanted = cell(guest or config.guest.profile, [build] if build else [])
    if (config.artifacts_folder / FILE_NAME).exists():
        with History(config.artifacts_folder) as history:
            if found := last_good_commit(history, wanted):
                return commit_of(config.root.resolve(), found.commit)
    raise ConfigurationError(
        f"The history has no whole run of {wanted} in which everything passed, from a clean commit.",
        remedy="Name a commit that is good.",
    )


def _tell(step: Step, left: str, *, quiet: bool) -> None:
    verdict = click.style(f"{step.verdict:4}", fg=COLOURS[step.verdict])
    left = f" ({left})" if left else ""
    click.echo(
        f"bisect: {step.commit[:12]} {verdict} {step.seconds:5.1f} s  {printable(step.subject)[:50]}{left}",
        err=quiet,
    )
    if step.verdict is not Verdict.GOOD:
        click.echo(f"        {printable(step.why)}", err=quiet)


def _document(found: Found) -> dict[str, object]:
    return {
        "first_bad": found.first_bad.commit if found.first_bad else None,
        "candidates": found.candidates,
        "steps": [{**asdict(step), "bad": [one.name for one in step.bad]} for step in found.steps],
    }


def _show(found: Found, lines: list[str], folders: tuple[Path, ...]) -> None:
    if found.first_bad is None:
        click.echo("\nOnly commits that cannot be tried are left. The first bad one is among:")
        for commit in found.candidates:
            click.echo(f"  {commit}")
        return
    click.echo(f"\nfirst bad commit: {printable(lines[0])}")
    for line in lines[1:]:
        click.echo(f"  {printable(line)}")
    if not found.first_bad.bad:
        click.echo(f"  {printable(found.first_bad.why)}")
    for result in found.first_bad.bad[:SHOWN]:
        click.echo(f"{printable(result.name)}:")
        for line in result_lines(result, folders):
            click.echo(f"  {line}")
    if more := len(found.first_bad.bad) - SHOWN:
        click.echo(f"and {more} more" if more > 0 else "", nl=more > 0)

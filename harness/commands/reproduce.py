"""`winvm reproduce`: replays a crash from its bundle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli import Invocation

if TYPE_CHECKING:
    from harness.bundle.read import Bundle
    from harness.project.config import Config
    from harness.reproduce.replays import Reproduction

SHOWN_OPERATIONS = 100


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--times", metavar="N", type=click.IntRange(1, 1000), default=3, help="Replays; default is 3.")
@click.option(
    "--minimise", is_flag=True, help="Cut the journalled operations to the fewest that still crash."
)
@click.option("--any-image", is_flag=True, help="Use today's image if the crash's own is unavailable.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; the rest goes to stderr.")
@click.pass_context
def reproduce(
    context: click.Context, bundle: Path, times: int, minimise: bool, any_image: bool, as_json: bool
) -> None:
    """Replay a bundle's crash, each time in a restored guest, and report how often it recurs.

    The bundle's agent and driver run in the guest; nothing of the bundle runs on this host. Exit code 0 if
    every replay crashed with the bundle's signature, 1 if not.
    """
    from harness.display.progress import Progress
    from harness.reproduce.replays import Request
    from harness.reproduce.replays import reproduce as replay

    request = Request(bundle, _config(context.obj), times, minimise, any_image)
    progress = Progress()
    try:
        found = replay(request, progress, lambda opened: show_bundle(opened, to_stderr=as_json))
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps(found.document()))
    else:
        show_result(found)
    complete = found.reproduced == times and (found.recurred == times or not minimise)
    context.exit(0 if complete else 1)


def _config(invocation: Invocation) -> Config:
    """A bundle needs no winvm.toml. One beside it is not trusted: only what --config names is read."""
    from harness.project import config

    if invocation.config_path:
        return config.load(invocation.config_path)
    return config.Config(root=Path.cwd())


def show_bundle(bundle: Bundle, *, to_stderr: bool) -> None:
    """Prints what will be executed."""
    from harness.display.terminal import printable

    manifest, trigger = bundle.manifest, bundle.manifest.trigger
    members, driver = manifest.members, manifest.driver
    given = ", ".join(f"{name}={value}" for name, value in trigger.parameters.items())
    rows = {
        "crash": f"{manifest.signature}: {manifest.what}",
        "runs": {"load": "the loading of the driver", "unload": "loading and unloading of the driver"}.get(
            trigger.kind, f"scenario {trigger.name}, seed {trigger.seed}" + (f", {given}" if given else "")
        ),
        "driver": f"{driver.service}.sys ({driver.build}), SHA-256 {members[driver.member].sha256}",
        "agent": f"SHA-256 {members['agent.pyz'].sha256}",
        "guest": f"{manifest.guest}, image {manifest.image[:12]}, made by winvm {manifest.winvm}",
    }
    for name, text in rows.items():
        click.echo(f"{name:7} {printable(text)}", err=to_stderr)


def show_result(found: Reproduction) -> None:
    """Prints the replays' results and the minimised operations."""
    from harness.display.terminal import lines_of, printable

    wanted = found.manifest.signature
    click.echo(f"reproduced {found.reproduced}/{len(found.attempts)}: {wanted}")
    for number, attempt in enumerate(found.attempts, start=1):
        if attempt.signature != wanted:
            what = f"crashed as {attempt.signature}" if attempt.signature else attempt.outcome
            click.echo(f"  replay {number} {' '.join(lines_of(f'{what}: {attempt.message}'))}")
    for difference in found.differences:
        click.echo(f"  not as it was: {printable(difference)}")
    if (before := found.manifest.trigger.before) and found.reproduced < len(found.attempts):
        click.echo(
            f"  {len(before)} scenarios had run in the same guest before it, {printable(before[-1])} last:"
            " the crash may depend on what they left behind."
        )
    if found.unminimised:
        click.echo(f"not minimised: {found.unminimised}.")
    if found.left_out:
        names = ", ".join(f"{count} {name}" for name, count in found.left_out.items())
        click.echo(f"  operations that no replay can issue: {printable(names)}")
    if found.minimal:
        click.echo(
            f"minimised from {found.recorded} operations to {len(found.minimal)} in {found.trials} trials;"
            f" these crash {found.recurred}/{len(found.attempts)}:"
        )
        for operation in found.minimal[:SHOWN_OPERATIONS]:
            click.echo(f"  {printable(str(operation))}")
    click.echo(f"artifacts: {found.artifacts}")

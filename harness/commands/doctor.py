"""`winvm doctor`: checks this host for everything that winvm needs."""

from __future__ import annotations

import dataclasses
import json
import os

import click

from harness.commands import warn_of_broken_flavours
from harness.display.terminal import printable
from harness.project import config


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Check what winvm needs: found, version, works or not, remedy. Exit code 3 if a need is not met."""
    from harness.doctor import able, diagnose

    warn_of_broken_flavours()
    broken = []
    for check in diagnose(config.home()):
        broken += [] if check.works else [check.need]
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(check)))
            continue
        mark, colour = ("ok", "green") if check.works else ("no", "red")
        found = printable(" ".join(part for part in (check.found, check.version) if part)) or "not found"
        note = f" ({printable(check.note)})" if check.note else ""
        click.echo(f"{click.style(mark, fg=colour)}  {check.need:<18} {found}{note}")
        if not check.works and check.remedy:
            click.echo(f"    {printable(check.remedy)}")
    for what, lacking in able(broken, os.geteuid()).items() if not as_json else ():
        click.echo(f"can {what}: {'no, lacks ' + ', '.join(lacking) if lacking else 'yes'}")
    if broken:
        click.echo(
            f"winvm: {len(broken)} of the bench's requirements not met: {', '.join(broken)}.", err=True
        )
    context.exit(3 if broken else 0)

"""`winvm prune`: removes old images, saved states, downloads and artifacts."""

from __future__ import annotations

import json
import time

import click

from harness.cli import Invocation
from harness.commands import load_config, warn_of_broken_flavours
from harness.errors import ConfigurationError
from harness.project import config as configuration
from harness.run.prune import OLD_DAYS, inventory, old, remove


@click.command()
@click.option(
    "--older-than", "days", metavar="DAYS", type=click.FloatRange(0), default=OLD_DAYS, show_default=True
)
@click.option(
    "--keep-size", "gigabytes", metavar="GB", type=click.FloatRange(0), help="Remove until no more is left."
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option(
    "--json", "as_json", is_flag=True, help="One JSON object per item, with the reason if it is kept."
)
@click.pass_context
def prune(context: click.Context, days: float, gigabytes: float | None, dry_run: bool, as_json: bool) -> None:
    """Remove old images, saved states, downloads and artifacts; never what is in use."""
    invocation: Invocation = context.obj
    try:
        artifacts = load_config(invocation).artifacts_folder
    except ConfigurationError:
        if invocation.config_path:
            raise
        artifacts = None  # outside a project, images, states and downloads are still pruned
    warn_of_broken_flavours()
    home = configuration.home()
    items = inventory(home, artifacts)
    chosen = old(items, days, None if gigabytes is None else int(gigabytes * 1e9), time.time())
    gone = chosen if dry_run else remove(chosen, home)
    if as_json:
        for item in items:
            line = {"kind": item.kind, "path": str(item.path), "bytes": item.size, "made": item.time}
            click.echo(json.dumps({**line, "kept": item.kept, "removed": item in gone}))
        return
    for item in gone:
        click.echo(f"{item.size / 1e6:8.1f} MB  {item.kind}  {item.path}")
    total, left = sum(item.size for item in gone), sum(item.size for item in items if item not in gone)
    verb = "Would remove" if dry_run else "Removed"
    click.echo(f"{verb} {total / 1e9:.2f} GB; {left / 1e9:.2f} GB stay.")

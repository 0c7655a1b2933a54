"""`winvm build`: builds the driver; starts no guest."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.project import config as configuration


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object: build name -> path of its .sys.")
@click.pass_context
def build(context: click.Context, as_json: bool) -> None:
    """Build, sign and inspect every driver build in winvm.toml."""
    from harness.display.progress import Progress
    from harness.images.base import list_images
    from harness.journal import Journal
    from harness.toolchain.builds import build_drivers

    invocation: Invocation = context.obj
    config = load_config(invocation)
    journal, progress = Journal(), Progress()
    journal.listen(progress)
    images = list_images(configuration.home())
    exports: Path | None = images[0].exports if images else None
    try:
        drivers = build_drivers(config, exports, journal)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps({name: str(path) for name, path in drivers.items()}))
        return
    for name, path in drivers.items():
        click.echo(f"{name}: {path}")

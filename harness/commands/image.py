"""`winvm image build|list`: guest images in the bench's home."""

from __future__ import annotations

import json

import click

from harness import config as configuration
from harness.errors import ConfigurationError


@click.group()
def image() -> None:
    """Build and list guest images."""


@image.command()
@click.argument("name", default="wine")
@click.option("--json", "as_json", is_flag=True, help="Print the image as JSON.")
def build(name: str, as_json: bool) -> None:
    """Build an image, unless one with the same inputs is there."""
    from harness.images import wine
    from harness.journal import Journal
    from harness.progress import Progress

    if name != "wine":
        raise ConfigurationError(f"There is no image {name!r}.", remedy="Known images: wine.")
    journal, progress = Journal(), Progress()
    journal.listen(progress)
    try:
        built = wine.ensure(configuration.home(), journal)
    finally:
        progress.close()
    if as_json:
        click.echo(json.dumps({"folder": str(built.folder), "digest": built.digest, **built.versions}))
    else:
        click.echo(str(built.folder))


@image.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def list_(as_json: bool) -> None:
    """List the images that are there, newest first."""
    from harness.images.base import list_images

    for found in list_images(configuration.home()):
        size = found.disk.stat().st_size
        if as_json:
            click.echo(json.dumps({"folder": str(found.folder), "bytes": size, **found.versions}))
        else:
            versions = " ".join(f"{name} {value}" for name, value in found.versions.items())
            click.echo(f"{found.folder.name}  {size / 2**20:.0f} MiB  {versions}")

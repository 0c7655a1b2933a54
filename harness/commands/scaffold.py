"""`winvm init|new-driver`: writes the files that a project does not have yet."""

from __future__ import annotations

import os
from pathlib import Path

import click

from harness.display.terminal import printable
from harness.project import config as configuration
from harness.project.ci import FORGES, write_workflow
from harness.project.scaffold import Written, write_driver
from harness.toolchain.discovery.written import begin_project, summary


@click.command()
@click.option("--name", metavar="NAME", help="Name of the driver; default is its project's, or the folder's.")
@click.option(
    "--ci",
    "forge",
    type=click.Choice(sorted(FORGES)),
    help="Write a workflow for this forge, at the root of the git repository; of a project, only that.",
)
def init(name: str | None, forge: str | None) -> None:
    """Write winvm.toml, first scenarios and a test file for the driver here; overwrites nothing.

    Reads the Visual Studio project, the sources, the INF or the .sys in this folder, and the driver's device
    names and control codes.
    """
    if forge and Path(configuration.FILE_NAME).exists():  # a project already: only the workflow is asked for
        written = _write_workflow(forge)
        click.echo("Next: commit it and push." if written.new else "The workflow exists already.")
        return
    written, examined = begin_project(Path(), name)
    for line in summary(examined):
        click.echo(printable(line))
    _tell(written)
    if forge:
        _write_workflow(forge)
    if not written.new:
        click.echo("Every file exists already. Next: winvm run")
    elif examined.driver is None:
        click.echo("Next: say in winvm.toml how the driver is built, then: winvm run")
    else:
        click.echo("Next: winvm run")


def _write_workflow(forge: str) -> Written:
    from harness.guests.registry import image_key

    config = configuration.load(Path(configuration.FILE_NAME))
    written = write_workflow(forge, config, lambda profile: image_key(profile, config.root))
    _tell(written)
    return written


@click.command(name="new-driver")
@click.argument("name")
def new_driver(name: str) -> None:
    """Write a small WDM driver with its contract, scenarios and Makefile into the new folder NAME."""
    _tell(write_driver(Path(name), name))
    click.echo(f"Next: cd {name}, then `make` builds it and `make test` runs its scenarios in a guest.")


def _tell(written: Written) -> None:
    for path in written.kept:
        click.echo(f"kept   {os.path.relpath(path)}")
    for path in written.new:
        click.echo(f"wrote  {os.path.relpath(path)}")

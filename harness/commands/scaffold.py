"""`winvm init|new-driver`: writes the files that a project does not have yet."""

from __future__ import annotations

from pathlib import Path

import click

from harness.project.scaffold import Written, project_name, write_driver, write_project


@click.command()
@click.option("--name", metavar="NAME", help="Name of the driver; default is the folder's.")
def init(name: str | None) -> None:
    """Write winvm.toml, an example scenario and a test file here; overwrites nothing."""
    written = write_project(Path(), name or project_name(Path()))
    _tell(written)
    if written.new:
        click.echo("Next: say in winvm.toml how the driver is built, then: winvm run")
    else:
        click.echo("Every file exists already. Next: winvm run")


@click.command(name="new-driver")
@click.argument("name")
def new_driver(name: str) -> None:
    """Write a small WDM driver with its contract, scenarios and Makefile into the new folder NAME."""
    _tell(write_driver(Path(name), name))
    click.echo(f"Next: cd {name}, then `make` builds it and `make test` runs its scenarios in a guest.")


def _tell(written: Written) -> None:
    for path in written.kept:
        click.echo(f"kept   {path}")
    for path in written.new:
        click.echo(f"wrote  {path}")

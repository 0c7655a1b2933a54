"""`winvm rescue`: disables a driver that crashes its guest at every boot, so that the guest boots again."""

from __future__ import annotations

import json
from pathlib import Path

import click

from harness.cli import Invocation
from harness.commands import load_config

DEADLINE_S = 600.0
START_TYPES = {0: "boot", 1: "system", 2: "automatic", 3: "demand", 4: "disabled"}


@click.command()
@click.argument("disk", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option("--driver", metavar="NAME", help="Service to disable; default is the driver of winvm.toml.")
@click.option("--json", "as_json", is_flag=True, help="Print what was done as JSON.")
@click.pass_context
def rescue(context: click.Context, disk: Path, driver: str | None, as_json: bool) -> None:
    """Disable a driver on DISK, the qcow2 disk of a Windows guest that is off.

    Only the driver's start type in the registry changes; the rest of DISK and its backing files stay as
    they are.
    """
    from harness.deadline import Deadline
    from harness.offline.rescue import disable_driver

    invocation: Invocation = context.obj
    service = driver or load_config(invocation).driver.name
    before = disable_driver(disk, service, Deadline.after(DEADLINE_S))
    start = START_TYPES.get(before, str(before))
    if as_json:
        click.echo(json.dumps({"disk": str(disk), "driver": service, "start_before": before}))
    else:
        click.echo(f"{service} is disabled on {disk}; its start type was {start}.")

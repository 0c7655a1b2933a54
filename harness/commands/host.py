"""`winvm host install`: the packages of this host that winvm needs."""

from __future__ import annotations

import click


@click.group()
def host() -> None:
    """Set up this host."""


@host.command()
@click.option("--dry-run", is_flag=True, help="Print what would be installed, and install nothing.")
def install(dry_run: bool) -> None:
    """Install the host's packages (as root), then libvirt's Python module into winvm's environment.

    Debian 12 and newer, Ubuntu 26.04 and newer; Fedora and Arch by their package names. After a run as root,
    run it again as winvm's user.
    """
    from harness.host.setup import install as set_up

    set_up(dry_run=dry_run)

"""One module per group of `winvm` commands."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.cli import Invocation
    from harness.project import config


def load_config(invocation: Invocation) -> config.Config:
    """Loads the winvm.toml that `--config` names, else the nearest one, here or in a parent folder.

    Raises:
        ConfigurationError: there is no winvm.toml, or it is invalid.
    """
    from pathlib import Path

    from harness.project import config  # pydantic takes 60 ms, and not every command needs it

    return config.load(invocation.config_path or config.find(Path.cwd()))


def warn_of_broken_flavours() -> None:
    """Names on stderr the guest flavours that cannot be loaded; the command does without them."""
    import click

    from harness.display.terminal import paragraph
    from harness.guests.registry import broken_flavours

    for error in broken_flavours():
        click.echo(paragraph(error), err=True)

"""One module per group of `winvm` commands."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.cli import Invocation
    from harness.project import config


def load_config(invocation: Invocation) -> config.Config:
    """The configuration this invocation means.

    Raises:
        ConfigurationError: there is none, or it is wrong.
    """
    from harness.project import config  # pydantic takes 60 ms, and not every command needs it

    return config.load(invocation.config_path or config.find(Path.cwd()))

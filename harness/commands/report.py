"""`winvm report`: writes a run's report.html again."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.errors import ConfigurationError, HostError


@click.command()
@click.argument("folder", metavar="[RUN_FOLDER]", required=False, type=click.Path(path_type=Path))
@click.pass_context
def report(context: click.Context, folder: Path | None) -> None:
    """Write a run's report.html again, also for a run that was killed; default is the latest run."""
    from harness.report.reports import make_reports

    invocation: Invocation = context.obj
    try:
        config = load_config(invocation)
    except ConfigurationError:
        if invocation.config_path or folder is None:
            raise
        config = None  # the run's folder was copied here without its project
    chosen = folder or (config.artifacts_folder / "latest" if config else Path())
    chosen = chosen.resolve()
    own = config.artifacts_folder if config and chosen.parent == config.artifacts_folder.resolve() else None
    made = make_reports(
        chosen,
        config.root if config else chosen,
        own,
        lambda text: click.echo(f"winvm: {text}", err=True),
    )
    if made.page is None:
        raise HostError(f"No report of {chosen} was written.", remedy="Correct the problem printed above.")
    click.echo(made.page)

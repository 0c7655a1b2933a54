"""`winvm nightly`: runs the matrix of winvm.toml; fails only for what is new since the night before."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout

import click

from harness.cli import Invocation
from harness.commands import load_config
from harness.display.terminal import printable
from harness.errors import ConfigurationError
from harness.nightly import night as nights
from harness.nightly.cells import matrix
from harness.nightly.hosts import host
from harness.nightly.verdict import CellResult, CellVerdict, lines
from harness.project import config as configuration

COLUMNS = ("cell", "verdict", "time", "run", "what")
COLOURS: dict[str, str] = {
    CellVerdict.QUIET: "green",
    CellVerdict.NEWS: "red",
    CellVerdict.KNOWN: "red",
    CellVerdict.BROKEN: "red",
    CellVerdict.SKIPPED: "yellow",
}
INTERRUPTED = 130


@click.command()
@click.option(
    "--cell", "names", metavar="NAME", multiple=True, help="Run only this cell, such as `wine/release`."
)
@click.option(
    "--workers", type=click.IntRange(1), help="Cells at once; default is as many as the hosts have room for."
)
@click.option(
    "-k", "keyword", metavar="EXPRESSION", help="Only scenarios whose name matches, as pytest's -k."
)
@click.option("--strict", is_flag=True, help="Known failures and known crashes count as new ones do.")
@click.option("--list", "only_list", is_flag=True, help="Print the cells and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print the night's results as JSON.")
@click.pass_context
def nightly(
    context: click.Context,
    names: tuple[str, ...],
    workers: int | None,
    keyword: str | None,
    strict: bool,
    only_list: bool,
    as_json: bool,
) -> None:
    """Run every guest profile with every driver build, and report what is new since the night before.

    Exit codes: 0 nothing new, 1 a scenario newly fails, 4 a crash never seen before, 3 or 2 a cell that did
    not run to its end. With --strict, 1 any scenario fails, 4 any unexpected crash.
    """
    invocation: Invocation = context.obj
    config = load_config(invocation)
    cells = matrix(config)
    if unknown := sorted(set(names) - {cell.name for cell in cells}):
        known = ", ".join(cell.name for cell in cells)
        raise ConfigurationError(f"The matrix has no cell {unknown[0]!r}.", remedy=f"Choose one of: {known}.")
    cells = tuple(cell for cell in cells if not names or cell.name in names)
    if only_list:
        for cell in cells:
            click.echo(
                cell.name + (f" (skipped: {cell.profile} lacks {cell.missing})" if cell.missing else "")
            )
        return
    hosts = [host(section) for section in config.nightly.hosts]
    file = invocation.config_path or config.root / configuration.FILE_NAME
    started = time.monotonic()
    night = nights.begin(config, file, cells, hosts, ["-k", keyword] if keyword else [], strict=strict)
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        results, interrupted = nights.run(night, workers)
    document = nights.finish(night, results, time.monotonic() - started)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _show(results)
        click.echo(f"results: {night.folder}")
    context.exit(INTERRUPTED if interrupted else nights.exit_code(results))


def _show(results: Sequence[CellResult]) -> None:
    rows = [COLUMNS]
    for result in results:
        # The text comes from a guest or a log, so it is escaped.
        what = [*lines(result), *result.message.strip().splitlines()[-5:]]
        shown = [printable(line) for line in what] or [""]
        rows.append((result.cell, str(result.verdict), f"{result.seconds:.0f} s", result.run, shown[0]))
        rows += [("", "", "", "", line) for line in shown[1:]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    for row in rows:
        cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
        if colour := COLOURS.get(row[1].strip()):
            cells[1] = click.style(cells[1], fg=colour)
        click.echo("  ".join(cells).rstrip())

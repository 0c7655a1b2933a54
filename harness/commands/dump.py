"""`winvm dump`: what a crash dump says."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--symbols",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder with drivers and their PDBs; several builds may lie below it.",
)
def dump(file: Path, as_json: bool, symbols: Path | None) -> None:
    """Say what crashed: bugcheck, faulting driver, registers, drivers and stack of a kernel or user dump."""
    from harness.dumps.reader import summarise

    summary = summarise(file)
    if symbols:
        from harness.dumps.symbols import symbolise

        summary = symbolise(summary, symbols)
    if as_json:
        import json

        from harness.dumps.summary import summary_document

        click.echo(json.dumps(summary_document(summary)))
        return
    from harness.dumps.text import page

    for line in page(summary):
        click.echo(line)

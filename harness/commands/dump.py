"""`winvm dump`: shows what a crash dump holds."""

from __future__ import annotations

import os
from pathlib import Path

import click


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--symbols",
    "symbol_path",
    metavar="PATH",
    default="",
    help="Folders with drivers and PDBs, or a symbol path as in _NT_SYMBOL_PATH: DIR;srv*CACHE*http://SERVER.",
)
@click.option("--download", is_flag=True, help="Also ask the symbol servers in _NT_SYMBOL_PATH.")
def dump(file: Path, as_json: bool, symbol_path: str, download: bool) -> None:
    """Show what crashed: bugcheck, faulting driver, registers, drivers and stack of a kernel or user dump.

    PDBs and images come from --symbols, else from _NT_SYMBOL_PATH. Without --download, only symbol servers
    named by --symbols are asked.
    """
    from harness.dumps.formats.reader import summarise

    text = symbol_path or os.environ.get("_NT_SYMBOL_PATH", "")
    if symbol_path and "*" not in symbol_path:
        for folder in symbol_path.split(";"):
            if not Path(folder).is_dir():
                raise click.BadParameter(f"There is no folder {folder!r}.", param_hint="--symbols")
    if text:
        from harness.dumps.symbol_path import SymbolPath
        from harness.dumps.symbols import symbolise
        from harness.project.config import home

        symbols = SymbolPath(text, download=download or bool(symbol_path), cache=home() / "symbols")
        summary = symbolise(summarise(file, files=symbols.file), symbols)
    else:
        summary = summarise(file)
    if as_json:
        import json

        from harness.dumps.summary import summary_document

        click.echo(json.dumps(summary_document(summary)))
        return
    from harness.dumps.text import page

    for line in page(summary):
        click.echo(line)

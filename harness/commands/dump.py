"""`winvm dump`: shows what a crash dump holds."""

from __future__ import annotations

from pathlib import Path

import click

from harness.commands.dump_page import show, symbolised


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
    if symbol_path and "*" not in symbol_path:
        for folder in symbol_path.split(";"):
            if not Path(folder).is_dir():
                raise click.BadParameter(f"There is no folder {folder!r}.", param_hint="--symbols")
    show(symbolised(file, symbol_path, download=download), as_json=as_json)

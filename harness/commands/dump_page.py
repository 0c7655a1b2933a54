"""What `winvm dump` prints. Nothing here needs click, which takes longer to import than a dump to read."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from harness.dumps.summary import Summary
    from harness.dumps.symbol_path import SymbolPath

_SYMBOL_PATH = "_NT_SYMBOL_PATH"
MAX_SHOWN = 200
"""Characters of a path."""


def without_click(arguments: Sequence[str]) -> bool:
    """Does what `winvm dump FILE` and `winvm dump FILE --json` do; False for any other command line."""
    if not arguments or arguments[0] != "dump" or os.environ.get(_SYMBOL_PATH):
        return False
    files = [argument for argument in arguments[1:] if argument != "--json"]
    if len(files) != 1 or files[0].startswith("-") or len(arguments) - len(files) > 2:
        return False
    from harness.dumps.formats.reader import summarise

    show(summarise(files[0]), as_json="--json" in arguments)
    return True


def symbolised(file: Path, symbol_path: str, *, download: bool) -> Summary:
    """The dump's summary, with the names that PDBs on the symbol path, or on _NT_SYMBOL_PATH, give.

    Raises:
        DumpError: see `summarise`.
        HostError: see `symbolise`.
    """
    from harness.dumps.formats.reader import summarise

    symbols = chosen_symbols(symbol_path, download=download)
    if symbols is None:
        return summarise(file)
    from harness.dumps.symbols import symbolise

    return symbolise(summarise(file, files=symbols.file, pdbs=symbols.pdb), symbols)


def chosen_symbols(symbol_path: str, *, download: bool = False) -> SymbolPath | None:
    """Where images and PDBs are: on `symbol_path`, else on _NT_SYMBOL_PATH; None when both are empty.

    Standard error gains a line for each folder that is named there and does not exist.

    Args:
        download: ask the servers in _NT_SYMBOL_PATH too; those in `symbol_path` are always asked.
    """
    text = symbol_path or os.environ.get(_SYMBOL_PATH, "")
    if not text:
        return None
    from harness.dumps.symbol_path import SymbolPath
    from harness.project.config import home

    found = SymbolPath(text, download=download or bool(symbol_path), cache=home() / "symbols")
    if found.absent:
        from harness.display.terminal import printable

        named = "--symbols" if symbol_path else _SYMBOL_PATH
        for folder in found.absent:
            shown = printable(str(folder)[:MAX_SHOWN])
            sys.stderr.write(f"winvm: {shown}, which {named} names, is no folder: it is passed over.\n")
    return found


def show(summary: Summary, *, as_json: bool) -> None:
    """Prints a summary as a page, or as one JSON object."""
    if as_json:
        import json

        from harness.dumps.summary import summary_document

        lines = [json.dumps(summary_document(summary))]
    else:
        from harness.display.terminal import unstyled
        from harness.dumps.text import page

        lines = list(page(summary))
        if not sys.stdout.isatty():
            lines = [unstyled(line) for line in lines]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()

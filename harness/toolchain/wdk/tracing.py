"""Writes stubs for the headers that the WPP preprocessor of a WDK generates (`driver.tmh`).

A trace call compiles to nothing: its text has format specifiers that only WPP's tools know. The names of the
trace functions come from `begin_wpp config` blocks; format:
https://learn.microsoft.com/windows-hardware/drivers/devtest/can-i-customize-dotracemessage-.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from harness.toolchain.wdk.text import source_text

HEADER_LIMIT = 20_000
_INCLUDE = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*["<]([^">\n]+\.tmh)[">]', re.MULTILINE | re.IGNORECASE)
_CONFIG = re.compile(rb"begin_wpp\s+config(.*?)end_wpp", re.DOTALL)
_FUNCTION = re.compile(rb"\bFUNC\s+(\w+)\s*(?:\{[^}\n]*\})?\s*\(")
ALWAYS = (
    *("DoTraceMessage", "DoDebugTrace", "DoTraceLevelMessage", "TraceEvents"),
    *("WPP_INIT_TRACING", "WPP_CLEANUP", "WPP_SYSTEMCONTROL", "WPP_SYSTEMCONTROL2", "WPP_RECORDER_SF_"),
    *("WPP_RECORDER_CONFIGURE", "WPP_RECORDER_INFLIGHT"),
)
HEAD = """/* Stands for the header that WPP would generate: trace calls compile to nothing. */
#pragma once
#define WPP_TRACING_STUB 1
#define WPP_RECORDER_IFRLOG_GET_DEFAULT() NULL
#define WPP_LEVEL_ENABLED(level) 0
"""


def write_tracing_headers(output: Path, sources: Iterable[Path], includes: Iterable[Path]) -> list[Path]:
    """Writes a stub for each `.tmh` that a source includes and the project does not have; returns them.

    Args:
        output: created when there is one to write; the compiler searches it.
        sources: the units.
        includes: folders with the project's headers, which may configure trace functions.
    """
    texts = {path: source_text(path) for path in sources}
    folders = list(dict.fromkeys([*includes, *(path.parent for path in texts)]))
    named: dict[str, None] = {}
    headers = {path: source_text(path) for path in _headers(folders)}
    for text in (*texts.values(), *headers.values()):
        for found in _INCLUDE.findall(text):
            name = found.decode("utf-8", "replace").replace("\\", "/").rpartition("/")[2]
            if not any((folder / name).is_file() for folder in folders):
                named[name] = None
    if not named:
        return []
    functions = dict.fromkeys(ALWAYS)
    for text in (*texts.values(), *headers.values()):
        for block in _CONFIG.findall(text):
            functions.update(
                dict.fromkeys(name.decode("ascii", "replace") for name in _FUNCTION.findall(block))
            )
    lines = [f"#undef {name}\n#define {name}(...) ((void)0)" for name in functions]
    output.mkdir(parents=True, exist_ok=True)
    written = []
    for name in named:
        path = output / name
        stub = HEAD + "\n".join(lines) + "\n"
        if not path.is_file() or path.read_text(encoding="utf-8") != stub:
            path.write_text(stub, encoding="utf-8")
        written.append(path)
    return written


def _headers(folders: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        for path in sorted(folder.glob("*.[hH]*")):
            if path.is_file():
                found.append(path)
            if len(found) > HEADER_LIMIT:
                return found
    return found

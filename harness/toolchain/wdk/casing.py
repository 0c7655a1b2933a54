"""Makes header names match in any case, as on Windows: a virtual file system overlay for clang.

Format: https://clang.llvm.org/docs/ClangCommandLineReference.html, -ivfsoverlay. Each header is listed under
its own path; clang then compares without regard to case, and reads a file that the overlay lacks itself.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

ENTRY_LIMIT = 50_000
"""Files of one overlay; a folder beyond it is left case-sensitive."""
HEADERS = frozenset(
    {".h", ".hpp", ".hxx", ".inc", ".inl", ".tmh", ".c", ".cpp", ".rh", ".rc", ".idl", ".ver"}
)


def write_overlay(output: Path, folders: Iterable[Path]) -> Path:
    """Writes the overlay for `folders` and those below them to `output`, and returns it.

    An unchanged overlay is not rewritten, so that nothing is compiled again because of it.
    """
    roots: list[dict[str, object]] = []
    count = 0
    for folder in _outermost(folders):
        for place, below, files in os.walk(folder):
            below[:] = sorted(name for name in below if not name.startswith("."))
            entries = [
                {"name": name, "type": "file", "external-contents": str(Path(place, name))}
                for name in sorted(files)
                if Path(name).suffix.lower() in HEADERS
            ]
            count += len(entries)
            if count > ENTRY_LIMIT:
                break
            if entries:
                roots.append({"name": place, "type": "directory", "contents": entries})
    text = json.dumps({"version": 0, "case-sensitive": False, "roots": roots})
    if not output.is_file() or output.read_text(encoding="utf-8") != text:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(text, encoding="utf-8")
    return output


def _outermost(folders: Iterable[Path]) -> list[Path]:
    """The folders that do not lie below another one."""
    kept: list[Path] = []
    for folder in sorted({folder.absolute() for folder in folders}):
        if not any(folder.is_relative_to(above) for above in kept):
            kept.append(folder)
    return kept


def in_any_case(folder: Path, name: str) -> Path:
    """What `folder` holds under a name, in its own case or else in another; as written if it is missing."""
    exact = folder / name
    if exact.exists():
        return exact
    try:
        found = [entry for entry in folder.iterdir() if entry.name.lower() == name.lower()]
    except OSError:
        return exact
    return min(found, default=exact)

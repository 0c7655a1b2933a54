"""Turns the paths of a Windows project into paths here: backslashes, and names in another case."""

from __future__ import annotations

from pathlib import Path

from harness.toolchain.wdk.casing import in_any_case


def resolve(base: Path, text: str) -> Path:
    """Resolves `text` against `base`. A component that exists only in another case is taken in that case.

    A path that does not exist is returned as written.
    """
    text = text.strip().strip('"').replace("\\", "/")
    if text[1:2] == ":":  # a drive: a path of another machine
        text = text[2:]
    if text.startswith("/"):
        return Path(text)
    path = base
    for part in text.split("/"):
        if part in ("", "."):
            continue
        path = path.parent if part == ".." else in_any_case(path, part)
    return path

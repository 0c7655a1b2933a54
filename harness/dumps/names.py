"""Names of modules as a dump holds them: UTF-16 from a hostile writer, in any form of path."""

from __future__ import annotations


def clean(data: bytes) -> str:
    """UTF-16 up to the first NUL, without characters that no name has."""
    text = data[: len(data) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
    return "".join(character for character in text if character.isprintable())


def base_name(path: str) -> str:
    """What follows the last separator of either kind."""
    return path.replace("/", "\\").rpartition("\\")[2]

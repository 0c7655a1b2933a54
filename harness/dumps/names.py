"""Module names in a dump: UTF-16 that may be hostile, in any form of path."""

from __future__ import annotations


def clean(data: bytes) -> str:
    """Decodes UTF-16 up to the first NUL, without the characters that no name can have."""
    text = data[: len(data) & ~1].decode("utf-16-le", "replace").partition("\0")[0]
    return "".join(character for character in text if character.isprintable())


def base_name(path: str) -> str:
    """The part after the last separator of either kind."""
    return path.replace("/", "\\").rpartition("\\")[2]

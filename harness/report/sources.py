"""Which crashes of the history are the same: by signature, and by source file if the signature has none.

A signature names the source file only while several files of the driver have a function of that name, and
never in histories of schema 1. A crash must not look new because that changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.dumps.signature import source_name, without_source
from harness.dumps.summary import Frame, Place

Named = tuple[str, str]
"""A signature, and the source of the crash; empty if it is unknown."""
_LINE = re.compile(r"\S+ (?P<function>.+?) (?P<file>\S.*):\d+")


def source_of_stack(signature: str, stack: Sequence[str]) -> str:
    """The source file of a crash, from the stack in the history: lines of place, function and source."""
    function = signature.split("-")[2:3]
    for line in stack:
        if (found := _LINE.fullmatch(line)) and [found["function"]] == function:
            return source_name(Place(0, frames=(Frame(found["function"], found["file"]),)))
    return ""


def parted(signature: str) -> Named:
    """A signature without its source file, and that source file; empty if it names none."""
    plain = without_source(signature)
    return plain, signature[len(plain) + 1 :]


def same_crash(known: Named, seen: Named) -> bool:
    """Whether a known crash is the one seen now; an unknown source file matches any."""
    if known[0] == seen[0]:
        return True
    if without_source(known[0]) != without_source(seen[0]):
        return False
    return known[1] in ("", seen[1])


def called_now(known: Named, seen: Iterable[Named]) -> list[str]:
    """The signatures among those seen now that are the known crash; its own if there is none."""
    return [now[0] for now in seen if same_crash(known, now)] or [known[0]]

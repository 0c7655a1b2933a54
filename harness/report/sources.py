"""Which crashes of the history are the same: by signature, and by source where signatures hold none.

A signature names the source only while several sources of the driver have a function of that name, and in
histories of schema 1 never. A crash must not look new because that changed.
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
    """The source of a crash from its stack as the history keeps it: lines of place, function and source."""
    function = signature.split("-")[2:3]
    for line in stack:
        if (found := _LINE.fullmatch(line)) and [found["function"]] == function:
            return source_name(Place(0, frames=(Frame(found["function"], found["file"]),)))
    return ""


def parted(signature: str) -> Named:
    """A signature without its source, and the source in it; empty if it holds none."""
    plain = without_source(signature)
    return plain, signature[len(plain) + 1 :]


def same_crash(known: Named, seen: Named) -> bool:
    """Whether a known crash is the one seen now; one of unknown source is any of its signature."""
    if known[0] == seen[0]:
        return True
    if without_source(known[0]) != without_source(seen[0]):
        return False
    return known[1] in ("", seen[1])


def called_now(known: Named, seen: Iterable[Named]) -> list[str]:
    """Signatures that a known crash has among those seen now; its own if it is not among them."""
    return [now[0] for now in seen if same_crash(known, now)] or [known[0]]

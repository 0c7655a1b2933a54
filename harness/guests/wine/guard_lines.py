"""What the guard of an instrumented driver prints: a violation with its stack, and what was left behind.

Lines of driver/instrument/guard_report.c, in the order in which they come:

    winvm-guard: left: pool 00000000104FEFC0 64 bytes tag Sins
    winvm-guard: left at 00000001400012F4 0000000140001A20 0000000000000000 ...
    winvm-guard: violation: driver unloaded that left something behind
    winvm-guard: stack at 0000000140001A20 0000000000000000 ...

The kernel's own line about the bugcheck follows. An address is that of the call, or of the function.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

from harness.outcome import DebugRecord

_VIOLATION = re.compile(r"winvm-guard: violation: (?P<what>.{1,200})")
_STACK = re.compile(r"winvm-guard: stack at (?P<frames>(?:[0-9A-Fa-f]{1,16} ?){1,16})")
_LEFT = re.compile(
    r"winvm-guard: left: (?P<what>[A-Za-z ]{1,40}) (?P<address>[0-9A-Fa-f]{1,16}) "
    r"(?P<bytes>\d{1,20}) bytes tag (?P<tag>\S{1,4})"
)
_LEFT_AT = re.compile(r"winvm-guard: left at (?P<frames>(?:[0-9A-Fa-f]{1,16} ?){1,16})")
_MOST_LEFT = 1000
KEPT = "kept"
"""What such a block is called in the lines."""


@dataclass(frozen=True)
class Left:
    """Something that the driver did not give back.

    Attributes:
        what: `pool`, `MDL`, `work item`, `timer`, `symbolic link`, `device`, ...
        address: of it, in the guest.
        bytes: its size; 0 where it has none.
        tag: its pool tag; `-` without one.
        stack: where the driver got it, innermost first.
    """

    what: str
    address: int
    bytes: int
    tag: str
    stack: tuple[int, ...] = ()


@dataclass(frozen=True)
class Violation:
    """What the guard found: in words, where, and what else it names."""

    what: str
    stack: tuple[int, ...]
    left: tuple[Left, ...] = ()


def violation(records: Iterable[DebugRecord]) -> Violation | None:
    """The last violation among the records of the driver; None without one."""
    what = ""
    stack: tuple[int, ...] = ()
    left: list[Left] = []
    for record in records:
        if record.source != "dbgprint":
            continue
        if found := _LEFT.match(record.text):
            left = [*([] if stack else left), _left(found)][-_MOST_LEFT:]
            what, stack = ("", ()) if stack else (what, stack)
        elif (found := _LEFT_AT.match(record.text)) and left:
            last = left[-1]
            left[-1] = Left(last.what, last.address, last.bytes, last.tag, _addresses(found["frames"]))
        elif found := _VIOLATION.match(record.text):
            what, stack = found["what"].rstrip(), ()
        elif (found := _STACK.match(record.text)) and what:
            stack = _addresses(found["frames"])
    return Violation(what, stack, tuple(left)) if what else None


def kept(records: Iterable[DebugRecord]) -> tuple[Left, ...]:
    """The blocks that the driver had at the end of a scenario and not at its beginning."""
    blocks: list[Left] = []
    printed = [record.text for record in records if record.source == "dbgprint"]
    for text, after in zip_longest(printed, printed[1:], fillvalue=""):
        if (found := _LEFT.match(text)) and found["what"] == KEPT and len(blocks) < _MOST_LEFT:
            at = _LEFT_AT.match(after)
            block = _left(found)
            stack = _addresses(at["frames"]) if at else ()
            blocks.append(Left(block.what, block.address, block.bytes, block.tag, stack))
    return tuple(blocks)


def _left(found: re.Match[str]) -> Left:
    return Left(found["what"], int(found["address"], 16), int(found["bytes"]), found["tag"])


def _addresses(text: str) -> tuple[int, ...]:
    return tuple(address for word in text.split() if (address := int(word, 16)))

"""The table of bugchecks: loads data/bugchecks.json at the first lookup.

The file documents its sources, its fields and the roles of parameters. A code, or the kind that one of its
parameters selects, decides what the other parameters hold; a kind may itself have kinds.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from harness.dumps.record import record

_FILE = os.path.join(os.path.dirname(__file__), "data", "bugchecks.json")  # noqa: PTH118, PTH120
_DRIVER = "driver"
_KIND = "kind"
_ALL_BITS = "0xFFFFFFFFFFFFFFFF"
_VARIANTS = frozenset({0x1000007E, 0x1000007F, 0x1000008E, 0x100000EA})
"""Set in the code of some dumps: the meaning is that of the code without it, the name ends with `_M`."""


@record
class Parameter:
    """One parameter: its role, what it holds, and words for values that it may have.

    All three are empty when the parameter is not used.
    """

    role: str
    text: str
    words: Mapping[int, str] = MappingProxyType({})


@record
class DocumentedBugcheck:
    """Table row of a code, with the kind that its parameters select.

    cause: the usual culprit: `driver`, `hardware`, `system`, `watchdog`, `request` or `live dump`.
    kind: meaning of the selected kind; empty when there are no kinds, or the values select none.
    parameters: four; none for a code that the table does not hold.
    """

    name: str
    meaning: str
    cause: str
    kind: str
    parameters: tuple[Parameter, ...]


UNKNOWN = DocumentedBugcheck("UNKNOWN", "", _DRIVER, "", ())


@functools.cache
def document() -> dict[str, Any]:
    """The data file: its source, the roles, and `codes` by their number as `number` writes it."""
    found: dict[str, Any] = json.loads(_text())
    return found


@functools.cache
def _text() -> bytes:
    with open(_FILE, "rb") as file:  # noqa: PTH123
        return file.read()


@functools.cache
def row(code: int) -> dict[str, Any] | None:
    """The row of a code in `codes`. Only its text is parsed: the file has 425 rows, a dump one code.

    A row starts a line with its number, and the rows of its kinds start theirs with a space.
    """
    start = _text().find(b'\n"%s": {' % number(code).encode())
    if start < 0:
        return None
    ends = (_text().find(mark, start + 1) for mark in (b'\n"', b"\n}\n"))
    text = _text()[start : min(end for end in ends if end >= 0)]
    found: dict[str, Any] = json.loads(b"{%s}" % text.rstrip(b",\n"))[number(code)]
    return found


def number(value: int) -> str:
    """A number as the data file writes it, such as `0x1CA`."""
    return f"0x{value:X}"


def base_code(code: int) -> int:
    """The code without the bit of its `_M` variant."""
    return code & 0x0FFFFFFF if code in _VARIANTS else code


def find(code: int, values: Sequence[int] = ()) -> DocumentedBugcheck:
    """The row of a code, `UNKNOWN` when there is none; `values` of its parameters select the kind."""
    own = row(code)
    if own is None:
        return UNKNOWN
    name = own["name"]
    base = row(int(own["same_as"], 16)) or own if "same_as" in own else own
    texts = _four(base)
    words = {int(at) - 1: _numbered(table) for at, table in base.get("values", {}).items()}
    kinds: list[str] = []
    level: Mapping[str, Any] = base
    while "kinds" in level and len(values) >= level["by"]:
        slot = level["by"] - 1
        value = values[slot]
        chosen = level["kinds"].get(number(value & int(level.get("mask", _ALL_BITS), 16)))
        if chosen is None:
            if not texts[slot] or texts[slot].startswith(_KIND):
                texts = [text or "n:detail" for text in texts]
            break
        if "parameters" in chosen:
            texts, words = _four(chosen), words if kinds else {}
        words |= {slot: {value: chosen["meaning"]}}
        kinds.append(chosen["meaning"])
        level = chosen
    parameters = []
    for at, text in enumerate(texts):
        role, _, what = text.partition(":")
        parameters.append(Parameter(role, what, words.get(at, {}) if what else {}))
    return DocumentedBugcheck(
        name, base["meaning"], base.get("cause", _DRIVER), ", ".join(kinds), tuple(parameters)
    )


def _four(level: Mapping[str, Any]) -> list[str]:
    texts = level.get("parameters", [])
    return [*texts, *[""] * (4 - len(texts))]


def _numbered(table: Mapping[str, str]) -> dict[int, str]:
    return {int(value, 16): words for value, words in table.items()}

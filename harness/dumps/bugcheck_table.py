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
_VARIANT, _TOP = 0x10000000, 0xF0000000
"""Bit in the code of some dumps: the meaning is that of the code without it, the name ends with `_M`."""


@record
class Parameter:
    """One parameter: its role, what it holds, and words for values that it may have.

    All are empty when the parameter is not used.

    fields: what its bits from `low` to `high` hold, as (text, high, low), with words for their values.
    bits: words for flags that may be set together.
    """

    role: str
    text: str
    words: Mapping[int, str] = MappingProxyType({})
    fields: tuple[tuple[str, int, int, Mapping[int, str]], ...] = ()
    bits: Mapping[int, str] = MappingProxyType({})


@record
class DocumentedBugcheck:
    """Table row of a code, with the kind that its parameters select.

    cause: the usual culprit: `driver`, `hardware`, `system`, `watchdog`, `request`,
        `live dump` or `found later`.
    kind: meaning of the selected kind; empty when there are no kinds, or the values select none.
    parameters: four; none for a code that the table does not hold.
    unshown: the part of `kind` that is not among the words of a parameter.
    """

    name: str
    meaning: str
    cause: str
    kind: str
    parameters: tuple[Parameter, ...]
    unshown: str = ""


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
    """The code without the bit of a `_M` variant, where the table has that code."""
    if code & _TOP == _VARIANT and row(code & ~_VARIANT) is not None:
        return code & ~_VARIANT
    return code


def find(code: int, values: Sequence[int] = ()) -> DocumentedBugcheck:
    """The row of a code, `UNKNOWN` when there is none; `values` of its parameters select the kind."""
    base = row(base_code(code))
    if base is None:
        return UNKNOWN
    name = (row(code) or {"name": f"{base['name']}_M"})["name"]
    texts = _four(base)
    about = _About()
    about.add(base)
    kinds: list[tuple[int, str]] = []
    level: Mapping[str, Any] = base
    while "kinds" in level and len(values) >= level["by"]:
        slot = level["by"] - 1
        value = values[slot]
        chosen = level["kinds"].get(number(value & int(level.get("mask", _ALL_BITS), 16)))
        named = chosen is not None
        chosen = chosen or level.get("else")
        if chosen is None:
            if not any(text for at, text in enumerate(texts) if at != slot and not text.startswith(_KIND)):
                texts = [text or "n:detail" for text in texts]
            break
        if "parameters" in chosen:
            texts = _four(chosen)
            about = about if kinds else _About()
        about.add(chosen)
        if named:
            about.words[slot] = {value: chosen["meaning"]}
        if "meaning" in chosen:
            kinds.append((slot if named else -1, chosen["meaning"]))
        level = chosen
    unshown = [meaning for slot, meaning in kinds if slot < 0 or not texts[slot]]
    return DocumentedBugcheck(
        name,
        base["meaning"],
        base.get("cause", _DRIVER),
        ", ".join(meaning for _, meaning in kinds),
        tuple(about.parameter(at, text) for at, text in enumerate(texts)),
        ", ".join(unshown),
    )


class _About:
    """What the values of parameters mean, gathered from a row and the kinds that are selected."""

    def __init__(self) -> None:
        self.words: dict[int, dict[int, str]] = {}
        self._fields: dict[int, tuple[tuple[str, int, int, Mapping[int, str]], ...]] = {}
        self._bits: dict[int, dict[int, str]] = {}

    def add(self, level: Mapping[str, Any]) -> None:
        self.words |= {int(at) - 1: _numbered(table) for at, table in level.get("values", {}).items()}
        self._bits |= {int(at) - 1: _numbered(table) for at, table in level.get("bits", {}).items()}
        for at, fields in level.get("fields", {}).items():
            self._fields[int(at) - 1] = tuple(
                (text, high, low, _numbered(words[0]) if words else {}) for text, high, low, *words in fields
            )

    def parameter(self, at: int, text: str) -> Parameter:
        role, _, what = text.partition(":")
        if not what:
            return Parameter(role, what)
        return Parameter(role, what, self.words.get(at, {}), self._fields.get(at, ()), self._bits.get(at, {}))


def _four(level: Mapping[str, Any]) -> list[str]:
    texts = level.get("parameters", [])
    return [*texts, *[""] * (4 - len(texts))]


def _numbered(table: Mapping[str, str]) -> dict[int, str]:
    return {int(value, 16): words for value, words in table.items()}

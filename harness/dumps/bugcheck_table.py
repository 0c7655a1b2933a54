"""The table of bugchecks: loads data/bugchecks.json at the first lookup.

The file documents its sources, its fields and the roles of parameters. A code, or the kind that one of its
parameters selects, decides what the other parameters hold; a kind may itself have kinds.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "data/bugchecks.json"
_DRIVER = "driver"
_KIND = "kind"
_ALL_BITS = "0xFFFFFFFFFFFFFFFF"
_VARIANTS = frozenset({0x1000007E, 0x1000007F, 0x1000008E, 0x100000EA})
"""Set in the code of some dumps: the meaning is that of the code without it, the name ends with `_M`."""


@dataclass(frozen=True)
class Parameter:
    """One parameter: its role, what it holds, and words for values that it may have.

    All three are empty when the parameter is not used.
    """

    role: str
    text: str
    words: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bugcheck:
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


UNKNOWN = Bugcheck("UNKNOWN", "", _DRIVER, "", ())


@functools.cache
def document() -> dict[str, Any]:
    """The data file: its source, the roles, and `codes` by their number as `number` writes it."""
    found: dict[str, Any] = json.loads(_FILE.read_bytes())
    return found


def number(value: int) -> str:
    """A number as the data file writes it, such as `0x1CA`."""
    return f"0x{value:X}"


def base_code(code: int) -> int:
    """The code without the bit of its `_M` variant."""
    return code & 0x0FFFFFFF if code in _VARIANTS else code


def find(code: int, values: Sequence[int] = ()) -> Bugcheck:
    """The row of a code, `UNKNOWN` when there is none; `values` of its parameters select the kind."""
    codes = document()["codes"]
    row = codes.get(number(code))
    if row is None:
        return UNKNOWN
    name = row["name"]
    row = codes[row["same_as"]] if "same_as" in row else row
    texts = _four(row)
    words = {int(at) - 1: _numbered(table) for at, table in row.get("values", {}).items()}
    kinds: list[str] = []
    level: Mapping[str, Any] = row
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
    return Bugcheck(name, row["meaning"], row.get("cause", _DRIVER), ", ".join(kinds), tuple(parameters))


def _four(row: Mapping[str, Any]) -> list[str]:
    texts = row.get("parameters", [])
    return [*texts, *[""] * (4 - len(texts))]


def _numbered(table: Mapping[str, str]) -> dict[int, str]:
    return {int(value, 16): words for value, words in table.items()}

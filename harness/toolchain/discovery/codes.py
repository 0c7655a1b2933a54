"""The control codes of a driver: found by name in its headers, their values computed by clang itself.

A macro or constant is a candidate if its text leads to `CTL_CODE`. clang then compiles the unit with one
enumeration constant for each candidate and prints their values with its syntax tree.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import DeadlineError
from harness.host import programs
from harness.toolchain.clang.commands import Command
from harness.toolchain.discovery.preprocess import UNIT_S, OwnText, without_output

ORIGIN = "CTL_CODE"
LIMIT = 500
"""Codes of one driver; more are left out."""
_WORD = re.compile(r"\b[A-Za-z_]\w*\b")
_CONSTANT = re.compile(r"\b([A-Za-z_]\w*)\s*=\s*\(*\s*(?:\(\s*\w+\s*\)\s*)?[(\s]*\w+[)\s]*<<\s*16\b")
"""A constant with CTL_CODE's expansion as its value."""
_PREFIX = "winvm_code_"


def candidates(found: OwnText) -> list[str]:
    """Names in a unit whose values are control codes, in the order of their definition."""
    leads = {ORIGIN}
    known = {**found.functions, **found.macros}
    while more := {
        name for name, text in known.items() if name not in leads and leads & set(_WORD.findall(text))
    }:
        leads |= more
    macros = [name for name in found.macros if name in leads]
    return list(dict.fromkeys([*macros, *_CONSTANT.findall(found.code)]))[:LIMIT]


def control_codes(units: Iterable[tuple[Command, OwnText]]) -> dict[str, int]:
    """Name -> value of every control code that one of the units knows; a name keeps its first value."""
    codes: dict[str, int] = {}
    for command, found in units:
        wanted = [name for name in candidates(found) if name not in codes]
        if wanted and len(codes) < LIMIT:
            codes |= evaluate(command, wanted)
    return dict(list(codes.items())[:LIMIT])


def evaluate(command: Command, names: Iterable[str]) -> dict[str, int]:
    """The values of constant expressions at the end of a unit; those without a value are left out."""
    ordered = list(names)
    probe = [f'#include "{command.unit.path}"']
    probe += [f"enum {{ {_PREFIX}{number} = (int)({name}) }};" for number, name in enumerate(ordered)]
    with tempfile.TemporaryDirectory(prefix="winvm-codes-") as scratch:
        source = Path(scratch, f"probe{command.unit.path.suffix}")
        source.write_text("\n".join([*probe, ""]), encoding="utf-8")
        argv = without_output(command.argv)[:-1]  # the last word is the unit
        argv += [str(source), "-fsyntax-only", "-ferror-limit=0"]
        argv += ["-Xclang", "-ast-dump=json", "-Xclang", f"-ast-dump-filter={_PREFIX}"]
        try:
            done = programs.run(argv, Deadline.after(UNIT_S), folder=command.folder)
        except DeadlineError:
            return {}
    values = dict(_values(done.stdout.decode("utf-8", "replace")))
    return {name: values[number] for number, name in enumerate(ordered) if number in values}


def _values(text: str) -> Iterator[tuple[int, int]]:
    """(number, value) of each enumeration constant in clang's output: one JSON document after another."""
    decoder = json.JSONDecoder()
    position = text.find("{")
    while position >= 0:
        try:
            document, position = decoder.raw_decode(text, position)
        except ValueError:
            return
        number = re.fullmatch(rf"{_PREFIX}(\d+)", str(document.get("name", "")))
        value = _constant(document)
        if number and value is not None:
            yield int(number[1]), value & 0xFFFFFFFF
        position = text.find("{", position)


def _constant(node: Mapping[str, Any]) -> int | None:
    """The value of an enumeration constant; in C++ a cast to the enumeration's type may lie around it."""
    for child in node.get("inner", ()):
        if child.get("kind") == "ConstantExpr" and re.fullmatch(r"-?\d+", str(child.get("value", ""))):
            return int(child["value"])
        if child.get("kind") == "ImplicitCastExpr" and (value := _constant(child)) is not None:
            return value
    return None

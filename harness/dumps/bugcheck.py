"""What a bugcheck code and its parameters mean, in words."""

from __future__ import annotations

from dataclasses import dataclass

from harness.dumps.bugcheck_table import BUGCHECKS, EXCEPTIONS, KINDS

_VARIANT = 0x0FFFFFFF
_VARIANTS = frozenset({0x7E, 0x7F, 0x8E, 0xEA})
"""Codes that also come with 0x10000000 set: the same meaning, `_M` behind the name."""


@dataclass(frozen=True)
class Parameter:
    """One parameter's role (see `bugcheck_table`) and what it holds; both empty when it holds nothing."""

    role: str
    text: str


@dataclass(frozen=True)
class Bugcheck:
    """A row of the table. An unknown code has an empty `meaning` and no parameters."""

    name: str
    meaning: str
    parameters: tuple[Parameter, ...]


def base_code(code: int) -> int:
    """The code without the bit of its `_M` variant."""
    base = code & _VARIANT
    return base if code >> 28 == 1 and base in _VARIANTS else code


def lookup(code: int) -> Bugcheck:
    """Name and meaning of a code, of its `_M` variant too."""
    base = base_code(code)
    if base not in BUGCHECKS:
        return Bugcheck("UNKNOWN", "", ())
    name, meaning, parameters = BUGCHECKS[base]
    parts = (parameter.partition(":") for parameter in parameters)
    return Bugcheck(
        name if base == code else f"{name}_M",
        meaning,
        tuple(Parameter(role, text) for role, _, text in parts),
    )


def exception_name(code: int) -> str:
    """What an exception code means; empty when it is not in the table. A status may be sign-extended."""
    return EXCEPTIONS.get(code & 0xFFFFFFFF, "")


def kind(code: int, value: int) -> str:
    """What a bugcheck's sub-code means; empty when it is not in the table."""
    return KINDS.get(base_code(code), {}).get(value, "")


def access(value: int) -> str:
    """Read, write or execute, as bugchecks at a raised IRQL and access violations say it."""
    return {0: "read", 1: "write", 2: "execute", 8: "execute"}.get(value, f"{value:#x}")


def page_fault_access(value: int) -> str:
    """The same for bugcheck 0x50, whose codes differ by release and architecture."""
    return {0: "read", 1: "write", 2: "write", 8: "execute", 0x10: "execute"}.get(value, f"{value:#x}")


def explanation(code: int, parameters: tuple[int, ...]) -> str:
    """The meaning of the code, then every parameter that holds something, in one paragraph."""
    known = lookup(code)
    if not known.meaning:
        if not code:
            return "The system had not crashed: a live dump."
        values = ", ".join(f"{value:#x}" for value in parameters)
        return f"Bugcheck {code:#x} is unknown here. Parameters: {values}."
    shown = []
    for number, (parameter, value) in enumerate(zip(known.parameters, parameters, strict=False), start=1):
        if not parameter.text:
            continue
        words = {
            "kind": lambda value=value: kind(code, value),
            "code": lambda value=value: exception_name(value),
            "rw": lambda value=value: access(value),
        }.get(parameter.role, lambda: "")()
        if base_code(code) == 0x50 and number == 2:
            words = page_fault_access(value)
        digits = value & 0xFFFFFFFF if parameter.role == "code" else value
        shown.append(f"{parameter.text} {digits:#x}{f' ({words})' if words else ''}")
    head = known.meaning[0].upper() + known.meaning[1:]
    return f"{head}: {'; '.join(shown)}." if shown else f"{head}."

"""Explains a bugcheck and its parameters in words, and finds the parameters that are addresses."""

from __future__ import annotations

from collections.abc import Sequence

from harness.dumps.bugcheck_table import DocumentedBugcheck, Parameter, find
from harness.dumps.bugcheck_table import base_code as base_code
from harness.dumps.exceptions import cause, exception_name, is_information, status_name

HANGS = frozenset({0x80, 0x101, 0x133, 0x1CA, 0xE2, 0x9F})
"""Bugchecks of a machine that made no progress: another thread or processor may be the reason."""
_IRQLS = {0: "PASSIVE_LEVEL", 1: "APC_LEVEL", 2: "DISPATCH_LEVEL", 15: "HIGH_LEVEL"}
_ACCESS = {0: "read", 1: "write", 2: "execute", 8: "execute"}
_BLAMES_STACK = frozenset({"driver", "request"})
_HOLDS_INFORMATION = 0x1E
_REQUEST = "request"
_CHARACTERS = 8
"""ASCII characters that can occur in a parameter."""
_POOLS = {0: "NonPagedPool", 1: "PagedPool", 4: "NonPagedPoolCacheAligned", 5: "PagedPoolCacheAligned"}
_POOLS |= {0x200: "NonPagedPoolNx", 0x204: "NonPagedPoolNxCacheAligned"}
_MODES = {0: "KernelMode", 1: "UserMode"}
_NAMES = {"irql": _IRQLS, "pool": _POOLS, "mode": _MODES}


def lookup(code: int, values: Sequence[int] = ()) -> DocumentedBugcheck:
    """Table row of a code, or of its `_M` variant; the parameters' `values` select the kind."""
    return find(code, values)


def kind(code: int, values: Sequence[int]) -> str:
    """Meaning of the kind that the parameters select; empty when there is none."""
    return find(code, values).kind


def addresses(code: int, values: Sequence[int]) -> dict[str, int]:
    """Parameters by role, such as `ip`, the address of code to blame; of equal roles, the first parameter.

    A parameter of value 0 is left out: it points nowhere.
    """
    found: dict[str, int] = {}
    for parameter, value in zip(find(code, values).parameters, values, strict=False):
        if value and parameter.role:
            found.setdefault(parameter.role, value)
    return found


def code_addresses(code: int, values: Sequence[int]) -> list[int]:
    """Every parameter that is an address of code to blame, in order."""
    parameters = find(code, values).parameters
    return [
        value
        for parameter, value in zip(parameters, values, strict=False)
        if parameter.role == "ip" and value
    ]


def blames_stack(code: int) -> bool:
    """Whether code on the stack may be blamed: not for hardware, watchdogs, Windows itself, live dumps."""
    return code != 0 and find(code).cause in _BLAMES_STACK


def was_asked_for(code: int) -> bool:
    """Whether the bugcheck is only raised on request: only who raised it may be blamed."""
    return code != 0 and find(code).cause == _REQUEST


def raised(code: int, values: Sequence[int]) -> tuple[int, tuple[int, ...]] | None:
    """Code and information of the exception that caused a bugcheck, from its parameters; None without one.

    There is no information where the parameters hold something else in its place.
    """
    parameters = find(code).parameters
    if not values or not parameters or parameters[0].role != "code":
        return None
    held = base_code(code) == _HOLDS_INFORMATION and is_information(values[0], values[2:4])
    return values[0] & 0xFFFFFFFF, tuple(values[2:4]) if held else ()


def explanation(code: int, values: Sequence[int], information: Sequence[int] = ()) -> str:
    """The meaning of the code, then every parameter in use, in one paragraph.

    Args:
        information: parameters of the exception record, for a bugcheck about an exception, where known.
    """
    known = find(code, values)
    if not known.meaning:
        if not code:
            return "No bugcheck is recorded: the system seems not to have crashed."
        held = ", ".join(f"{value:#x}" for value in values)
        return f"Bugcheck {code:#x} is not documented: a driver may have defined it. Parameters: {held}."
    shown = [
        f"{parameter.text} {_digits(parameter, value)}{f' ({words})' if words else ''}"
        for parameter, value in zip(_used(code, known.parameters, values), values, strict=False)
        if parameter.text
        for words in (_words(code, parameter, value),)
    ]
    head = known.meaning[0].upper() + known.meaning[1:]
    if known.unshown:
        head += f" ({known.unshown})"
    text = f"{head}: {'; '.join(shown)}." if shown else f"{head}."
    exception = raised(code, values)
    if exception and (why := cause(exception[0], tuple(information) or exception[1])):
        text += f" The code {why}."
    return text


def _used(code: int, parameters: tuple[Parameter, ...], values: Sequence[int]) -> tuple[Parameter, ...]:
    """The parameters, without those that hold no exception's information though they should."""
    if base_code(code) != _HOLDS_INFORMATION or not values or is_information(values[0], values[2:4]):
        return parameters
    return parameters[:2]


def _digits(parameter: Parameter, value: int) -> str:
    return f"{value & 0xFFFFFFFF if parameter.role in ('code', 'status') else value:#x}"


def _words(code: int, parameter: Parameter, value: int) -> str:
    """Words for the value of one parameter; empty when there are none."""
    if found := ", ".join(filter(None, (parameter.words.get(value, ""), _parts(parameter, value)))):
        return found
    match parameter.role:
        case "kind":
            return "not documented"
        case "code":
            return exception_name(value)
        case "status":
            return status_name(value)
        case "rw" if base_code(code) != 0x50:
            return _ACCESS.get(value, "")
        case "irql" | "pool" | "mode" as role:
            return _NAMES[role].get(value, "")
        case "ipv4":
            return ".".join(str(byte) for byte in (value & 0xFFFFFFFF).to_bytes(4, "little"))
        case "tag":
            return _characters(value)
    return ""


def _parts(parameter: Parameter, value: int) -> str:
    """What the value's flags and groups of bits say, such as `source file 0x19, line 0x2a5`."""
    parts = [words for bit, words in parameter.bits.items() if value & bit]
    for text, high, low, words in parameter.fields:
        held = value >> low & (1 << high - low + 1) - 1
        parts.append(f"{text} {words[held]}" if held in words else f"{text} {held:#x}")
    return ", ".join(parts)


def _characters(value: int) -> str:
    """The value as printable ASCII text, such as a pool tag; empty when it is not text."""
    data = value.to_bytes(_CHARACTERS, "little").rstrip(b"\0")
    text = data.decode("ascii", "replace")
    return f"'{text}'" if data and text.isascii() and text.isprintable() else ""

"""Checks that say both values when they fail; each raises AssertionError, which means `failed`.

A plain `assert` works as well: the report shows the scenario's local variables beside it.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from agent.errors import NTSTATUS_NAMES, WIN32_NAMES, NtStatusError, Win32Error

SHOWN = 512  # characters of a value that a message repeats


def show(value: object) -> str:
    """A value as a message repeats it: `repr`, cut when it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def equal(actual: object, expected: object, what: str = "value") -> None:
    """Fails unless `actual == expected`; `what` names the thing that was looked at."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {show(expected)}, got {show(actual)}")


def one_of(actual: object, allowed: Container[object], what: str = "value") -> None:
    """Fails unless `actual` is among `allowed`."""
    if actual not in allowed:
        raise AssertionError(f"{what}: expected one of {show(allowed)}, got {show(actual)}")


@dataclass
class Raised:
    """What a `raises_win32` or `raises_ntstatus` block met; `code` is set when the block has ended."""

    code: int = 0
    text: str = ""


@contextmanager
def raises_win32(*codes: int) -> Iterator[Raised]:
    """Fails unless the block raises `Win32Error` with one of `codes` (any code when none is given)."""
    wanted = _names(codes, WIN32_NAMES, "{}")
    raised = Raised()
    try:
        yield raised
    except Win32Error as error:
        raised.code, raised.text = error.code, str(error)
        if codes and error.code not in codes:
            raise AssertionError(f"expected {wanted}, got {error}") from error
    else:
        raise AssertionError(f"expected {wanted}, but the call succeeded")


@contextmanager
def raises_ntstatus(*statuses: int) -> Iterator[Raised]:
    """Fails unless the block raises `NtStatusError` with one of `statuses` (any when none is given)."""
    wanted = _names(statuses, NTSTATUS_NAMES, "0x{:08X}")
    raised = Raised()
    try:
        yield raised
    except NtStatusError as error:
        raised.code, raised.text = error.status, str(error)
        if statuses and error.status not in {status & 0xFFFFFFFF for status in statuses}:
            raise AssertionError(f"expected {wanted}, got {error}") from error
    else:
        raise AssertionError(f"expected {wanted}, but the call succeeded")


def _names(codes: tuple[int, ...], names: dict[int, str], form: str) -> str:
    shown = (f"{names.get(code & 0xFFFFFFFF, '')} {form.format(code & 0xFFFFFFFF)}".strip() for code in codes)
    return " or ".join(shown) or "an error"

"""Checks whose failure message has both values; each raises AssertionError, whose outcome is `failed`.

A plain `assert` works as well: the report shows the scenario's local variables beside it.
"""

from __future__ import annotations

from collections.abc import Collection, Container, Iterable
from typing import Self

from agent.errors import NTSTATUS_NAMES, WIN32_NAMES, NtStatusError, Win32Error

SHOWN = 512  # characters of a value in a message


def show(value: object) -> str:
    """A value as messages show it: its `repr`, cut when it is long."""
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}... ({len(text)} characters)"


def equal(actual: object, expected: object, what: str = "value") -> None:
    """Fails unless `actual == expected`; `what` names the compared value in the message."""
    if actual != expected:
        raise AssertionError(f"{what}: expected {show(expected)}, got {show(actual)}")


def one_of(actual: object, allowed: Container[object], what: str = "value") -> None:
    """Fails unless `actual` is among `allowed`."""
    if actual not in allowed:
        raise AssertionError(f"{what}: expected one of {show(allowed)}, got {show(actual)}")


class _Raises:
    """Base of the two expectations below. A class, not a generator: a failure's traceback then shows the
    scenario's line and no line of contextlib.

    Attributes:
        code: the code that was raised; set when the block has ended.
        text: the error's text.
    """

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted
        self.code = 0
        self.text = ""

    def __enter__(self) -> Self:
        return self

    def _met(self, code: int, error: Exception, codes: Collection[int]) -> bool:
        self.code, self.text = code, str(error)
        if codes and code not in codes:
            raise AssertionError(f"expected {self._wanted}, got {error}") from error
        return True

    def _nothing_raised(self) -> bool:
        raise AssertionError(f"expected {self._wanted}, but the call succeeded")


class raises_win32(_Raises):  # noqa: N801  used as a statement: `with raises_win32(5):`
    """Fails unless the block raises `Win32Error` with one of `codes` (any code when none is given).

    An error that a limit of the guest made is no answer of the driver, whatever its code: it goes on.
    """

    def __init__(self, *codes: int) -> None:
        super().__init__(_names(codes, WIN32_NAMES, "{}"))
        self._codes = codes

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        if error is None:
            return self._nothing_raised()
        if not isinstance(error, Win32Error) or error.limit:
            return False
        return self._met(error.code, error, self._codes)


class raises_ntstatus(_Raises):  # noqa: N801
    """Fails unless the block raises `NtStatusError` with one of `statuses` (any when none is given)."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = [status & 0xFFFFFFFF for status in statuses]
        super().__init__(_names(self._statuses, NTSTATUS_NAMES, "0x{:08X}"))

    def __exit__(self, _type: object, error: BaseException | None, _trace: object) -> bool:
        if error is None:
            return self._nothing_raised()
        return isinstance(error, NtStatusError) and self._met(error.status, error, self._statuses)


def _names(codes: Iterable[int], names: dict[int, str], form: str) -> str:
    return " or ".join(f"{names.get(code, '')} {form.format(code)}".strip() for code in codes) or "an error"

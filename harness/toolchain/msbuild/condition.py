"""Evaluates the conditions of MSBuild: comparisons, `Exists`, `HasTrailingSlash`, and, or, not.

Grammar: https://learn.microsoft.com/visualstudio/msbuild/msbuild-conditions. Properties are expanded before.
Values compare without regard to case, and as numbers where both are numbers.
"""

from __future__ import annotations

import re
from collections.abc import Callable

LIMIT = 20_000
"""Characters of one condition, after expansion."""
DEPTH_LIMIT = 50
_TOKEN = re.compile(
    r"\s*(?:(?P<text>'[^']*')|(?P<operator>==|!=|<=|>=|<|>|!|\(|\)|,)|(?P<word>[^\s'()=!<>,]+))"
)


class ConditionError(ValueError):
    """A condition that this evaluator cannot read; MSBuild may be able to."""


def holds(condition: str, exists: Callable[[str], bool]) -> bool:
    """Whether an expanded condition is true; an empty one counts as true.

    Args:
        exists: answers `Exists('path')`.

    Raises:
        ConditionError: it is malformed, too long, or calls an unknown function.
    """
    if not condition.strip():
        return True
    if len(condition) > LIMIT:
        raise ConditionError("too long")
    return _Reader(_tokens(condition), exists).whole()


def _tokens(condition: str) -> list[str]:
    tokens, position = [], 0
    stripped = condition.rstrip()
    while position < len(stripped):
        found = _TOKEN.match(stripped, position)
        if not found:
            raise ConditionError(f"unexpected {stripped[position:][:20]!r}")
        tokens.append(found["text"] or found["operator"] or found["word"])
        position = found.end()
    return tokens


class _Reader:
    """Recursive descent over the tokens."""

    def __init__(self, tokens: list[str], exists: Callable[[str], bool]) -> None:
        self._tokens = tokens
        self._next = 0
        self._exists = exists
        self._depth = 0

    def whole(self) -> bool:
        value = self._either()
        if self._next != len(self._tokens):
            raise ConditionError(f"unexpected {self._peek()!r}")
        return value

    def _peek(self) -> str:
        return self._tokens[self._next] if self._next < len(self._tokens) else ""

    def _take(self) -> str:
        token = self._peek()
        self._next += 1
        return token

    def _either(self) -> bool:
        value = self._both()
        while self._peek().lower() == "or":
            self._take()
            value = self._both() or value
        return value

    def _both(self) -> bool:
        value = self._one()
        while self._peek().lower() == "and":
            self._take()
            value = self._one() and value
        return value

    def _one(self) -> bool:
        self._depth += 1
        if self._depth > DEPTH_LIMIT:
            raise ConditionError("too deeply nested")
        try:
            if self._peek() == "!":
                self._take()
                return not self._one()
            if self._peek() == "(":
                self._take()
                value = self._either()
                self._expect(")")
                return value
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> bool:
        left = self._take()
        if self._peek() == "(":
            return self._function(left.lower())
        operator = self._peek()
        if operator not in ("==", "!=", "<", ">", "<=", ">="):
            return _truth(left)
        self._take()
        return _compare(_value(left), operator, _value(self._take()))

    def _function(self, name: str) -> bool:
        self._expect("(")
        argument = _value(self._take())
        self._expect(")")
        if name == "exists":
            return bool(argument) and self._exists(argument)
        if name == "hastrailingslash":
            return argument.endswith(("/", "\\"))
        raise ConditionError(f"unknown function {name}")

    def _expect(self, token: str) -> None:
        if self._take() != token:
            raise ConditionError(f"{token!r} is missing")


def _value(token: str) -> str:
    return token[1:-1] if token[:1] == "'" else token


def _truth(token: str) -> bool:
    word = _value(token).lower()
    if word in ("true", "on", "yes"):
        return True
    if word in ("false", "off", "no"):
        return False
    raise ConditionError(f"{token!r} is neither true nor false")


def _compare(left: str, operator: str, right: str) -> bool:
    numbers = _number(left), _number(right)
    if operator in ("==", "!="):
        same = left.lower() == right.lower()
        if numbers[0] is not None and numbers[1] is not None:
            same = numbers[0] == numbers[1]
        return same == (operator == "==")
    if numbers[0] is None or numbers[1] is None:
        raise ConditionError(f"{left!r} {operator} {right!r} does not compare numbers")
    return {
        "<": numbers[0] < numbers[1],
        ">": numbers[0] > numbers[1],
        "<=": numbers[0] <= numbers[1],
        ">=": numbers[0] >= numbers[1],
    }[operator]


def _number(text: str) -> tuple[int, ...] | None:
    """A number or a dotted version, trailing zeros left out so that 17 equals 17.0."""
    if re.fullmatch(r"0[xX][0-9a-fA-F]{1,8}", text):
        parts = [int(text, 16)]
    elif re.fullmatch(r"\d{1,9}(\.\d{1,9}){0,3}", text):
        parts = [int(part) for part in text.split(".")]
    else:
        return None
    while len(parts) > 1 and parts[-1] == 0:
        parts.pop()
    return tuple(parts)

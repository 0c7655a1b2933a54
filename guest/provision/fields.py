"""Reads typed fields out of parsed JSON and collects all problems, not only the first."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

Read = TypeVar("Read")


class Fields:
    """One JSON object. Each getter removes its key; `close` reports the keys that are left as unknown.

    A getter that finds a wrong value notes the problem and returns a value of the right type, so that the
    caller can read the next field.

    Attributes:
        problems: shared with the objects inside this one; each entry names the full key.
    """

    def __init__(self, content: dict[str, Any], path: str, problems: list[str]) -> None:
        self._path = path
        self.problems = problems
        self._rest = dict(content)

    def text(self, key: str, default: str | None = None, pattern: str = ".+", rule: str = "") -> str:
        """A string that `pattern` matches whole; without a default it must be there."""
        value = self._take(key, default)
        if not isinstance(value, str):
            self._wrong(key, "must be a string", value)
            return ""
        if value != default and not re.fullmatch(pattern, value):
            self.problem(key, f"must be {rule or 'a string of one line that is not empty'}")
        return value

    def number(self, key: str, default: int | None, least: int, most: int) -> int:
        """A whole number from `least` to `most`; without a default it must be there."""
        value = self._take(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(key, f"must be a whole number from {least} to {most}", value)
            return least
        return value

    def boolean(self, key: str, default: bool | None) -> bool:
        """True or false; without a default it must be there."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self._wrong(key, "must be true or false", value)
            return False
        return value

    def optional_boolean(self, key: str) -> bool | None:
        """True, false, or None when the key is left out or null."""
        return None if self._absent(key) else self.boolean(key, None)

    def optional_number(self, key: str, least: int, most: int) -> int | None:
        """A whole number, or None when the key is left out or null."""
        return None if self._absent(key) else self.number(key, None, least, most)

    def choice(self, key: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of a few words."""
        value = self._take(key, default)
        if value not in choices:
            self._wrong(key, f"must be one of {', '.join(choices)}", value)
            return choices[0]
        return str(value)

    def texts(self, key: str, pattern: str, rule: str) -> tuple[str, ...]:
        """A list of strings that `pattern` matches whole; empty when left out."""
        value = self._take(key, [])
        if not isinstance(value, list):
            self._wrong(key, "must be a list", value)
            return ()
        for entry in value:
            if not isinstance(entry, str) or not re.fullmatch(pattern, entry):
                self.problem(key, f"must be a list whose every entry is {rule}")
        return tuple(map(str, value))

    def section(self, key: str, read: Callable[[Fields], Read]) -> Read | None:
        """An object read by `read`, or None when the key is left out or null."""
        value = self._rest.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            self._wrong(key, "must be an object", value)
            return None
        inner = Fields(value, f"{self._path}{key}.", self.problems)
        result = read(inner)
        inner.close()
        return result

    def close(self) -> None:
        """Notes a problem for every key that no getter has read."""
        for key in self._rest:
            self.problem(key, "is not a known key")

    def problem(self, key: str, what: str) -> None:
        """Notes that the field `key` of this object is wrong."""
        self.problems.append(f"{self._path}{key} {what}")

    def _take(self, key: str, default: Any) -> Any:
        return self._rest.pop(key, default)

    def _absent(self, key: str) -> bool:
        if self._rest.get(key) is not None:
            return False
        self._rest.pop(key, None)
        return True

    def _wrong(self, key: str, what: str, value: Any) -> None:
        """Notes a value of the wrong type without showing it: it may be a secret under the wrong key."""
        found = "it is missing" if value is None else f"it is {_kind(value)}"
        self.problem(key, f"{what}; {found}")


def _kind(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return repr(value)
    if isinstance(value, str):
        return "a string"
    return "a list" if isinstance(value, list) else "an object"

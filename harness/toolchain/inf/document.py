"""Reads an INF: sections, entries and strings, each with its line; bounded, and never refused for its form.

Syntax: https://learn.microsoft.com/windows-hardware/drivers/install/general-syntax-rules-for-inf-files. An
`.inx` is the same before its variables are stamped.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SIZE_LIMIT = 1 << 20  # bytes; what is behind them is not read
VALUE_LIMIT = 4096  # characters of one value with its strings replaced
_STRING = re.compile(r"%([^%]{0,255})%")
_DIRID = re.compile(r"\d{1,5}")


@dataclass(frozen=True)
class Entry:
    """One line of a section: `key = values`; a line without `=` has the key "" and values."""

    line: int
    key: str
    values: tuple[str, ...]

    def value(self, number: int) -> str:
        """One of the values; empty if there is none."""
        return self.values[number] if number < len(self.values) else ""


@dataclass
class Section:
    """A section: its name as it is first written, the line of that, and the entries of all of this name."""

    name: str
    line: int
    entries: list[Entry] = field(default_factory=list)

    def of(self, key: str) -> Iterator[Entry]:
        """The entries with a key, whatever its case."""
        return (entry for entry in self.entries if entry.key.lower() == key.lower())

    def first(self, *keys: str) -> Entry | None:
        """The first entry with one of the keys."""
        return next((entry for key in keys for entry in self.of(key)), None)


@dataclass(frozen=True)
class Inf:
    """An INF.

    Attributes:
        path: of the file.
        sections: by name in lower case.
        strings: token in lower case -> text, of the section Strings.
        whole: whether the file was read to its end.
    """

    path: Path
    sections: dict[str, Section]
    strings: dict[str, str]
    whole: bool

    def section(self, name: str) -> Section | None:
        """A section, whatever the case of its name; None if it is missing."""
        return self.sections.get(self.text(name).lower())

    def text(self, value: str) -> str:
        """A value with its `%token%` replaced; unknown ones, such as the numbers of folders, stay."""

        def replaced(found: re.Match[str]) -> str:
            return self.strings.get(found[1].lower(), found[0])

        return _STRING.sub(replaced, value[:VALUE_LIMIT])[:VALUE_LIMIT].replace("%%", "%")

    def unknown_tokens(self, value: str) -> list[str]:
        """The `%token%` in a value that Strings does not define, but for numbers of folders."""
        named = (found[1] for found in _STRING.finditer(value[:VALUE_LIMIT]))
        return [one for one in named if one and one.lower() not in self.strings and not _DIRID.fullmatch(one)]


def read_inf(path: Path) -> Inf | None:
    """Reads an INF; None for a file that cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(SIZE_LIMIT + 1)
    except OSError:
        return None
    whole, data = len(data) <= SIZE_LIMIT, data[:SIZE_LIMIT]
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    sections: dict[str, Section] = {}
    current: Section | None = None
    for number, line in _lines(data.decode("utf-16" if wide else "utf-8-sig", "replace")):
        if line.startswith("["):
            name = line[1:].partition("]")[0].strip()
            current = sections.setdefault(name.lower(), Section(name, number))
        elif current is not None:
            current.entries.append(_entry(number, line))
    tables = [section for name, section in sections.items() if name.partition(".")[0] == "strings"]
    strings: dict[str, str] = {}
    for table in sorted(tables, key=lambda section: len(section.name)):  # a language's own come after
        for entry in table.entries:
            strings.setdefault(entry.key.lower(), entry.value(0)[:VALUE_LIMIT])
    return Inf(path, sections, strings, whole)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and blanks, each with its number; those that end in `\\` are joined."""
    joined, began = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        line = _uncommented(raw).strip()
        began = began or number
        if line.endswith("\\") and len(joined) < VALUE_LIMIT:
            joined += line[:-1]
            continue
        if joined or line:
            yield began, joined + line
        joined, began = "", 0
    if joined:
        yield began, joined


def _uncommented(line: str) -> str:
    """A line up to the first semicolon that stands outside quotation marks."""
    if ";" not in line:
        return line
    parts = line.split('"')
    for number, part in enumerate(parts):
        if number % 2 == 0 and ";" in part:
            return '"'.join([*parts[:number], part.partition(";")[0]])
    return line


def _entry(number: int, line: str) -> Entry:
    key, equals, rest = line.partition("=")
    if not equals or (key.count('"') % 2):  # an equals sign inside a text
        key, rest = "", line
    return Entry(number, key.strip().strip('"'), tuple(_values(rest)))


def _values(text: str) -> list[str]:
    """The values between commas that stand outside quotation marks, without these marks."""
    parts, values = text.split('"'), [""]
    for number, part in enumerate(parts):
        if number % 2:
            values[-1] += part
            continue
        first, *others = part.split(",")
        values[-1] += first if len(parts) > 1 else first.strip()
        values += others
    return [value.strip() for value in values]

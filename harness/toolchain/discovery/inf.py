"""Reads from an INF which services it installs, and from which files.

Format: https://learn.microsoft.com/windows-hardware/drivers/install/inf-addservice-directive. An `.inx` is
the same before its variables are stamped.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from pathlib import Path

SIZE_LIMIT = 1 << 20
_SECTION = re.compile(r"^\s*\[([^\]]+)\]\s*$")
_ENTRY = re.compile(r"^\s*([^=;]+?)\s*=\s*(.*?)\s*$")
_STRING = re.compile(r"%(\w+)%")


@dataclass(frozen=True)
class InfService:
    """One `AddService`: name of the service, its binary's file name, and its start type (3: on demand)."""

    name: str
    binary: str
    start: int | None


def services_of(inf: Path) -> list[InfService]:
    """The kernel services that an INF installs; empty for a file that is no INF or cannot be read."""
    sections = _sections(_text(inf))
    strings = {name.lower(): value.strip('"') for name, value in sections.get("strings", [])}

    def expanded(text: str) -> str:
        return _STRING.sub(lambda found: strings.get(found[1].lower(), ""), text)

    found: dict[str, InfService] = {}
    for key, value in [entry for entries in sections.values() for entry in entries]:
        words = [word.strip() for word in value.split(",")]
        if key.lower() != "addservice" or len(words) < 3:
            continue
        service = {name.lower(): text for name, text in sections.get(words[2].lower(), [])}
        binary = expanded(service.get("servicebinary", "")).replace("\\", "/").rpartition("/")[2]
        if binary.lower().endswith(".sys"):
            name = expanded(words[0])
            found.setdefault(name.lower(), InfService(name, binary, _number(service.get("starttype", ""))))
    return list(found.values())


def _sections(text: str) -> dict[str, list[tuple[str, str]]]:
    """Section name in lower case -> its entries; sections of one name are one section."""
    sections: dict[str, list[tuple[str, str]]] = {}
    entries: list[tuple[str, str]] = []
    for line in text.splitlines():
        line = line.partition(";")[0]
        if section := _SECTION.match(line):
            entries = sections.setdefault(section[1].strip().lower(), [])
        elif entry := _ENTRY.match(line):
            entries.append((entry[1], entry[2]))
    return sections


def _text(inf: Path) -> str:
    try:
        with inf.open("rb") as file:
            data = file.read(SIZE_LIMIT)
    except OSError:
        return ""
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if wide else "utf-8-sig", "replace")


def _number(text: str) -> int | None:
    found = re.match(r"(0[xX][0-9a-fA-F]+|\d+)\b", text)
    return int(found[1], 0) if found else None

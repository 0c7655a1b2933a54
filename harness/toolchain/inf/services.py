"""Which kernel services an INF installs, and from which files.

Format: https://learn.microsoft.com/windows-hardware/drivers/install/inf-addservice-directive.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from harness.toolchain.inf.document import Inf, read_inf


@dataclass(frozen=True)
class InfService:
    """One `AddService`: name of the service, its binary's file name, and its start type (3: on demand)."""

    name: str
    binary: str
    start: int | None


def services_of(inf: Path) -> list[InfService]:
    """The kernel services that an INF installs; empty for a file that is no INF or cannot be read."""
    read = read_inf(inf)
    return services_in(read) if read else []


def services_in(inf: Inf) -> list[InfService]:
    """As `services_of`, of an INF that was read already."""
    found: dict[str, InfService] = {}
    made: dict[str, tuple[str, int | None]] = {}
    added = (entry for section in inf.sections.values() for entry in section.of("AddService"))
    for entry in added:
        name, by = inf.text(entry.value(0)), inf.text(entry.value(2)).lower()
        if by not in made:
            made[by] = _made_by(inf, by)
        binary, start = made[by]
        if binary.lower().endswith(".sys"):
            found.setdefault(name.lower(), InfService(name, binary, start))
    return list(found.values())


def _made_by(inf: Inf, name: str) -> tuple[str, int | None]:
    """Binary and start type that a service install section writes; an empty binary if it writes none."""
    section = inf.section(name)
    named, start = (section.first("ServiceBinary"), section.first("StartType")) if section else (None, None)
    binary = file_name(inf.text(named.value(0))) if named else ""
    return binary, _number(start.value(0)) if start else None


def file_name(path: str) -> str:
    """The last part of a Windows path."""
    return path.replace("\\", "/").rpartition("/")[2]


def _number(text: str) -> int | None:
    found = re.match(r"(0[xX][0-9a-fA-F]+|\d+)\b", text)
    return int(found[1], 0) if found else None

"""Lines and how often they ran, read from llvm-cov's export in lcov's format.

Format: geninfo(1), section FILES.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

BELOW_ZERO = 1 << 63
"""A count from here on is a difference below zero: a function was under way when it was read."""


@dataclass
class SourceLines:
    """One source file.

    Attributes:
        counts: line -> how often it ran.
        branches: line -> its branches that were taken, and all of them.
        functions: name -> how often it was called.
    """

    counts: dict[int, int] = field(default_factory=dict)
    branches: dict[int, tuple[int, int]] = field(default_factory=dict)
    functions: dict[str, int] = field(default_factory=dict)

    @property
    def covered(self) -> int:
        """Number of lines that ran."""
        return sum(1 for count in self.counts.values() if count)


Lines = dict[str, SourceLines]
"""Source file, relative to the project's folder where it lies in it -> its lines."""


def read_lcov(text: str, root: Path) -> Lines:
    """The files of an export that have lines with code. root: the project's folder."""
    found: Lines = {}
    file = SourceLines()
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words = value.split(",")
        if key == "SF":
            file = found.setdefault(shown(value, root), SourceLines())
        elif key == "DA":
            file.counts[int(words[0])] = max(file.counts.get(int(words[0]), 0), _count(words[1]))
        elif key == "FNDA":
            file.functions[value.partition(",")[2]] = _count(words[0])
        elif key == "BRDA":
            taken, total = file.branches.get(int(words[0]), (0, 0))
            file.branches[int(words[0])] = (taken + bool(_count(words[3])), total + 1)
    return {name: lines for name, lines in found.items() if lines.functions and lines.counts}


def shown(path: str, root: Path) -> str:
    """A path of a source, relative to `root` if it lies below it."""
    absolute = Path(path) if Path(path).is_absolute() else root / path
    return absolute.relative_to(root).as_posix() if absolute.is_relative_to(root) else path


def percent(lines: Iterable[SourceLines]) -> float:
    """How many of the lines ran; 100 without any."""
    files = list(lines)
    total = sum(len(one.counts) for one in files)
    return 100.0 * sum(one.covered for one in files) / total if total else 100.0


def scenarios_of(counted: Mapping[str, Lines]) -> dict[str, dict[int, list[str]]]:
    """File -> line -> the scenarios that ran it. counted: scenario -> its lines."""
    found: dict[str, dict[int, list[str]]] = {}
    for scenario, lines in counted.items():
        for name, file in lines.items():
            for line, count in file.counts.items():
                if count:
                    found.setdefault(name, {}).setdefault(line, []).append(scenario)
    return found


def _count(text: str) -> int:
    if text == "-":
        return 0
    count = int(text)
    return 0 if count >= BELOW_ZERO else count

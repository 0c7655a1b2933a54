"""What vm/reactos/python.toml says: which libraries stand between Windows CPython and a ReactOS."""

from __future__ import annotations

import fnmatch
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError
from harness.host.resources import vm_folder


@dataclass(frozen=True)
class Library:
    """One support library.

    Attributes:
        name: its file name.
        instead_of: patterns of the module names that it replaces in import tables, in lower case.
        modules: the guest's modules to which it hands on what it does not have itself, the first one first.
        sources: C files in vm/reactos/support.
        own: the routines that it has itself.
        wraps: those of them that call the guest's own.
    """

    name: str
    instead_of: tuple[str, ...]
    modules: tuple[str, ...]
    sources: tuple[Path, ...]
    own: tuple[str, ...]
    wraps: tuple[str, ...] = ()

    def replaces(self, module: str) -> bool:
        """Whether it takes the place of a module in import tables."""
        return any(fnmatch.fnmatchcase(module.lower(), pattern) for pattern in self.instead_of)


@dataclass(frozen=True)
class PythonParts:
    """What is done to Windows CPython for a ReactOS.

    Attributes:
        excluded: patterns of files that are left out, relative to its folder.
        beside_python: libraries of its modules that are moved beside python.exe.
    """

    excluded: tuple[str, ...]
    beside_python: tuple[str, ...]
    libraries: tuple[Library, ...]


def read_parts(folder: Path | None = None) -> PythonParts:
    """The parts in `folder`, by default those of vm/reactos.

    Raises:
        ImageError: the file cannot be read, or an entry is missing or of the wrong kind.
    """
    folder = folder or vm_folder() / "reactos"
    path = folder / "python.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return PythonParts(
            tuple(table["excluded"]),
            tuple(table["beside_python"]),
            tuple(_library(name, entry, folder) for name, entry in table["libraries"].items()),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"The recipe {path} cannot be used: {error}.", remedy="Reinstall winvm, or correct the file."
        ) from error


def _library(name: str, entry: Mapping[str, list[str]], folder: Path) -> Library:
    return Library(
        name,
        tuple(entry["instead_of"]),
        tuple(entry["modules"]),
        tuple(folder / "support" / source for source in entry["sources"]),
        tuple(entry["own"]),
        tuple(entry.get("wraps", ())),
    )

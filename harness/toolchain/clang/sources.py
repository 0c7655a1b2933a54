"""What a driver is made of: its units, resources and libraries, from winvm.toml or a project file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BuildError

SUFFIXES = {".c": "c", ".cc": "c++", ".cpp": "c++", ".cxx": "c++", ".asm": "asm", ".rc": "rc", ".mc": "mc"}
"""Suffix of a source file -> language; compared in lower case."""
UNIT_LIMIT = 5_000


@dataclass(frozen=True)
class Unit:
    """One file to compile.

    Attributes:
        path: absolute.
        language: a value of `SUFFIXES`.
        includes: folders searched for headers, first to last.
        defines: `NAME` or `NAME=VALUE`.
        undefines: names.
        forced: headers included before the file itself.
        standard: the language standard, as clang takes it; empty for the default.
        options: further options for clang.
    """

    path: Path
    language: str
    includes: tuple[Path, ...] = ()
    defines: tuple[str, ...] = ()
    undefines: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()
    standard: str = ""
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class DriverSources:
    """Everything that goes into one `.sys`.

    Attributes:
        units: in the order in which they are linked.
        libraries: names without `.lib`, in lower case, or paths of libraries that the project has.
        entry: the entry point.
        debug: a debug build: little optimisation, `DBG` is 1.
        notes: what the project asks for but this build leaves out.
    """

    units: tuple[Unit, ...]
    libraries: tuple[str | Path, ...] = ()
    entry: str = "DriverEntry"
    debug: bool = False
    notes: tuple[str, ...] = ()


def is_debug(build: str) -> bool:
    """Whether a build's name names a debug build: `Debug`, `checked`, `dbg`."""
    return any(word in build.lower() for word in ("debug", "checked", "dbg"))


def listed_sources(
    root: Path,
    named: Sequence[str],
    build: str,
    *,
    include: Iterable[Path] = (),
    defines: Iterable[str] = (),
    libraries: Iterable[str] = (),
    options: Iterable[str] = (),
) -> DriverSources:
    """The sources that winvm.toml lists: files, folders and patterns, relative to `root`.

    A folder means the files directly in it. Every folder with a source is searched for headers, too.

    Raises:
        BuildError: an entry matches no file, there are no sources at all, or too many.
    """
    files: dict[Path, None] = {}
    for entry in named:
        found = _matching(root, entry)
        if not found:
            raise BuildError(
                f"driver.sources names {entry!r}, and there is no source file of that name in {root}.",
                remedy=f"Name files, folders or patterns; sources end in {', '.join(SUFFIXES)}.",
            )
        files.update(dict.fromkeys(found))
    if len(files) > UNIT_LIMIT:
        raise BuildError(
            f"driver.sources names {len(files)} files; at most {UNIT_LIMIT} are compiled.",
            remedy="Name only the driver's own source files.",
        )
    folders = dict.fromkeys((*include, *(file.parent for file in files)))
    units = tuple(
        Unit(file, SUFFIXES[file.suffix.lower()], tuple(folders), tuple(defines), options=tuple(options))
        for file in files
    )
    return DriverSources(units, tuple(library(root, name) for name in libraries), debug=is_debug(build))


def folder_sources(folder: Path) -> list[str]:
    """The C and C++ files of a folder that has no build file, or else of its `src`; empty without any."""
    for place in (folder, folder / "src"):
        found = [
            str(file.relative_to(folder))
            for file in sorted(place.glob("*"))
            if SUFFIXES.get(file.suffix.lower()) and file.is_file()
        ]
        if any(SUFFIXES[Path(name).suffix.lower()] in ("c", "c++") for name in found):
            return found
    return []


def _matching(root: Path, entry: str) -> list[Path]:
    path = root / entry
    if path.is_dir():
        found = path.glob("*")
    elif path.is_file():
        return [path] if path.suffix.lower() in SUFFIXES else []
    elif Path(entry).is_absolute() or not entry:
        return []
    else:
        found = root.glob(entry)
    return sorted(file for file in found if file.is_file() and file.suffix.lower() in SUFFIXES)


def library(base: Path, named: str) -> str | Path:
    """A library by its name alone, `fltMgr.lib` or `fltmgr`; or one that lies in the project, by its path."""
    path = base / named
    if path.is_file():
        return path
    return named.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".lib")

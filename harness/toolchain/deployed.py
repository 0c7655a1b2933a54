"""What a project brings into the guest besides its driver: files, and other drivers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from harness.errors import BuildError
from harness.project.config import ServiceSection

FILES_LIMIT = 500
SIZE_LIMIT = 512 << 20
"""Bytes of all files."""


@dataclass(frozen=True)
class Companion:
    """Another driver of the project, loaded before or after the one under test.

    Attributes:
        name: of its service.
        drivers: build name -> signed `.sys`.
        service: how its service is made.
        before: whether it is loaded first.
    """

    name: str
    drivers: Mapping[str, Path]
    service: ServiceSection = field(default_factory=ServiceSection)
    before: bool = True


def deployed_files(root: Path, named: Iterable[str]) -> dict[str, Path]:
    """Path in the guest's folder of files, with `/` -> the file on this host.

    Args:
        root: the project's folder; a file keeps its path below it, one outside it (`../x`) its name alone.
        named: paths and patterns relative to `root`; a folder stands for every file below it.

    Raises:
        BuildError: an entry names no file, or there are too many, or two would have one place.
    """
    found: dict[str, Path] = {}
    for entry in named:
        files = _matching(root, entry)
        if not files:
            raise BuildError(
                f"deploy.files names {entry!r}, and there is no such file in {root}.",
                remedy="Build the program first, or correct deploy.files in winvm.toml.",
            )
        for file in files:
            place = _place(root, file)
            if found.setdefault(place, file) != file:
                raise BuildError(
                    f"deploy.files names two files for {place}: {found[place]} and {file}.",
                    remedy="Rename one of them, or name only one in winvm.toml.",
                )
    size = sum(file.stat().st_size for file in found.values())
    if len(found) > FILES_LIMIT or size > SIZE_LIMIT:
        raise BuildError(
            f"deploy.files names {len(found)} files of {size >> 20} MiB; at most {FILES_LIMIT} files of "
            f"{SIZE_LIMIT >> 20} MiB are brought into the guest.",
            remedy="Name fewer files in deploy.files of winvm.toml.",
        )
    return found


def _matching(root: Path, entry: str) -> list[Path]:
    path = root / entry
    if path.is_file():
        return [path]
    if path.is_dir():
        found = path.rglob("*")
    elif not entry or Path(entry).is_absolute():
        return []
    else:
        found = root.glob(entry)
    return sorted(file for file in found if file.is_file())[: FILES_LIMIT + 1]


def _place(root: Path, file: Path) -> str:
    resolved, base = file.resolve(), root.resolve()
    relative = resolved.relative_to(base) if resolved.is_relative_to(base) else Path(file.name)
    return str(PurePosixPath(*relative.parts))

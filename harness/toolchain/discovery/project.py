"""Finds, in the folder of an existing driver, what builds it, and what lies around it.

Looked at, in this order: a Visual Studio project that builds a driver, a Makefile that winvm can call, a
CMake or Meson project, a file `sources` of an older driver kit, C and C++ files that define the entry
point, a built `.sys`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pefile

from harness.errors import BuildError
from harness.project.scaffold import DRIVER_NAME
from harness.toolchain.clang.sources import SUFFIXES
from harness.toolchain.compile import MAKEFILES
from harness.toolchain.discovery.ddk_sources import NAME, driver_of
from harness.toolchain.inf.services import InfService, services_of
from harness.toolchain.msbuild.vcxproj import configurations, is_driver_project, project_title
from harness.toolchain.wdk.text import source_text

DEPTH = 4
"""Levels of folders looked at, below the driver's own."""
FILE_LIMIT = 20_000
CALL_LIMIT = 4000
"""Characters of one call in a meson.build."""
SKIPPED = frozenset({"build", "artifacts", "node_modules", "packages", "__pycache__", "scenarios"})
_ENTRY = re.compile(rb"\bDriverEntry\s*\(")
_CALLED_BY_WINVM = re.compile(rb"\bOUT\b")


@dataclass(frozen=True)
class Driver:
    """One driver that the folder builds or holds; `name` is its `.sys` without the suffix.

    Attributes:
        settings: keys of `[driver]` in winvm.toml that build it.
        service: what its INF says of its service, None without an INF.
        read: folders whose sources tell names and codes, where a build of the user's own compiles them.
    """

    name: str
    settings: dict[str, object]
    service: InfService | None = None
    read: tuple[str, ...] = ()


@dataclass
class Folder:
    """What is in a driver's folder.

    Attributes:
        drivers: the one to test first.
        programs: projects and files of user-mode programs, which may be tests.
        infs: driver INFs.
        notes: what could not be read.
    """

    drivers: list[Driver] = field(default_factory=list)
    programs: list[Path] = field(default_factory=list)
    infs: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def look(folder: Path) -> Folder:
    """What `folder` and the folders in it hold; reads files, runs nothing."""
    files = list(_files(folder))
    found = Folder(infs=[path for path in files if path.suffix.lower() in (".inf", ".inx")])
    services = [service for inf in found.infs for service in services_of(inf)]
    _projects(folder, files, found)
    if not found.drivers:
        found.drivers = list(_otherwise(folder, files))
    found.drivers = [_with_service(driver, services) for driver in found.drivers]
    found.programs += [path for path in files if path.suffix.lower() == ".exe"]
    return found


def _files(folder: Path) -> Iterator[Path]:
    """The folder's files, nearest first."""
    count = 0
    for place, below, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        below[:] = sorted(
            name for name in below if depth < DEPTH and name[0] != "." and name.lower() not in SKIPPED
        )
        for name in sorted(names):
            count += 1
            if count > FILE_LIMIT:
                return
            path = Path(place, name)
            if path.is_file():
                yield path


def _projects(folder: Path, files: list[Path], found: Folder) -> None:
    for path in files:
        if path.suffix.lower() != ".vcxproj":
            continue
        try:
            if is_driver_project(path, "release"):
                settings: dict[str, object] = {"project": str(path.relative_to(folder))}
                settings["builds"] = _builds(configurations(path))
                found.drivers.append(Driver(project_title(path, "release"), settings))
            else:
                found.programs.append(path)
        except BuildError as error:
            found.notes.append(error.message)
    found.drivers.sort(key=lambda driver: len(Path(str(driver.settings["project"])).parts))


def _builds(declared: list[str]) -> list[str]:
    """The configuration to begin with: a release build, in which nothing but the driver prints.

    A name that winvm.toml cannot have is shortened to a word of it, by which the configuration is found.
    """
    named = [name for name in declared if DRIVER_NAME.fullmatch(name)]
    release = [name for name in named if name.lower() == "release"]
    return (release or [name for name in named if "release" in name.lower()] or named or ["Release"])[:1]


def _otherwise(folder: Path, files: list[Path]) -> Iterator[Driver]:
    name = folder.resolve().name
    for makefile in MAKEFILES:
        path = folder / makefile
        if path.is_file() and _CALLED_BY_WINVM.search(source_text(path)):
            yield Driver(name, {"folder": "."})
            return
    entries = dict.fromkeys(path.parent for path in files if _is_entry(path))
    for file, key, targets in _BUILD_SYSTEMS:
        lists = [path for path in files if path.name == file]
        titles = [title for path in lists for title in targets(source_text(path).decode("utf-8", "replace"))]
        if folder / file in lists and titles:
            read = tuple(str(entry.relative_to(folder)) for entry in entries)
            yield from (Driver(title, {key: "."}, read=read) for title in titles)
            return
    listed = [made for path in files if path.name.lower() == NAME and (made := driver_of(path, folder))]
    for title, settings in listed:
        yield Driver(title, settings)
    covered = {(folder / file).parent for _, settings in listed for file in texts(settings["sources"])}
    for entry in entries:
        if entry in covered:
            continue
        place = entry.relative_to(folder)
        yield Driver(name if str(place) in (".", "src") else place.name, {"sources": [str(place)]})
    if entries:
        return
    for path in files:
        if path.suffix.lower() == ".sys" and is_native(path):
            yield Driver(path.stem, {"prebuilt": str(path.relative_to(folder))})


def texts(value: object) -> list[str]:
    """The entries of a setting that is a list; none for another one."""
    return [str(one) for one in value] if isinstance(value, list) else []


def cmake_drivers(text: str) -> list[str]:
    """The targets that a CMakeLists.txt makes by FindWDK's `wdk_add_driver`."""
    named = re.search(r"\bproject\s*\(\s*([\w.-]+)", text, re.IGNORECASE)
    found = re.findall(r"\bwdk_add_driver\s*\(\s*(\$\{PROJECT_NAME\}|[\w.-]+)", text, re.IGNORECASE)
    project = named[1] if named else ""
    return [title for title in (project if "$" in name else name for name in found) if title]


def meson_drivers(text: str) -> list[str]:
    """The targets of a meson.build whose file is a `.sys`, of those that a literal names."""
    found = []
    for made in re.finditer(r"\b(?:executable|shared_library|shared_module)\s*\(\s*'([\w.-]+)'", text):
        depth, rest = 1, text[made.end() : made.end() + CALL_LIMIT]
        for end, character in enumerate(rest):
            depth += {"(": 1, ")": -1}.get(character, 0)
            if not depth:
                rest = rest[:end]
                break
        if re.search(r"\bname_suffix\s*:\s*'sys'", rest):
            found.append(made[1])
    return found


_BUILD_SYSTEMS = (("CMakeLists.txt", "cmake", cmake_drivers), ("meson.build", "meson", meson_drivers))
"""File, key of winvm.toml, and what finds the drivers in the file."""


def is_native(path: Path) -> bool:
    """Whether a file is an x64 driver."""
    try:
        image = pefile.PE(str(path), fast_load=True)
    except (OSError, pefile.PEFormatError):
        return False
    with image:
        native = image.OPTIONAL_HEADER.Subsystem == pefile.SUBSYSTEM_TYPE["IMAGE_SUBSYSTEM_NATIVE"]
        return bool(native and image.FILE_HEADER.Machine == pefile.MACHINE_TYPE["IMAGE_FILE_MACHINE_AMD64"])


def _is_entry(path: Path) -> bool:
    return SUFFIXES.get(path.suffix.lower()) in ("c", "c++") and bool(_ENTRY.search(source_text(path)))


def _with_service(driver: Driver, services: list[InfService]) -> Driver:
    for service in services:
        if service.binary.lower() == f"{driver.name}.sys".lower():
            return replace(driver, service=service)
    return driver

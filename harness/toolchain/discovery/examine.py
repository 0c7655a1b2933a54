"""Reads an existing driver: its build, its devices and its control codes. Nothing is compiled or run."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import pefile

from harness.errors import WinvmError
from harness.project.scaffold import DRIVER_NAME
from harness.toolchain.clang.commands import Command
from harness.toolchain.clang.compiler import unit_commands
from harness.toolchain.clang.sources import DriverSources, listed_sources
from harness.toolchain.discovery.codes import control_codes
from harness.toolchain.discovery.names import DeviceNames, names_in_driver, names_in_sources
from harness.toolchain.discovery.preprocess import OwnText, preprocess
from harness.toolchain.discovery.project import Driver, Folder, look, texts
from harness.toolchain.msbuild.vcxproj import configurations, project_sources

OTHERS = 4
"""Configurations that are looked at when the first does not compile."""


@dataclass(frozen=True)
class Examined:
    """What is known of a folder and of its first driver.

    Attributes:
        driver: the one to test; None when the folder has none.
        folder: everything that was found.
        names: of the driver's devices.
        codes: control code's name -> value.
        trouble: the first compiler error, or why nothing could be read; empty if all is well.
    """

    folder: Folder
    driver: Driver | None = None
    names: DeviceNames = field(default_factory=DeviceNames)
    codes: dict[str, int] = field(default_factory=dict)
    trouble: str = ""


def examine(folder: Path, name: str | None = None) -> Examined:
    """Finds a folder's driver and what it declares.

    Args:
        name: chooses among several drivers; by default, the one named like the folder, or else the first.
    """
    folder = folder.resolve()
    found = look(folder)
    driver = _chosen(found.drivers, name or folder.name)
    if driver is None:
        return Examined(found)
    if "prebuilt" in driver.settings:
        return _examined_image(found, driver, folder / str(driver.settings["prebuilt"]))
    first = _examined_sources(found, driver, folder)
    if first.trouble and "project" in driver.settings:
        for other in _other_configurations(driver, folder):
            second = _examined_sources(found, other, folder)
            if not second.trouble:
                tried, taken = (", ".join(texts(one.settings["builds"])) for one in (driver, other))
                found.notes.append(
                    f"configuration {tried} does not compile, {taken} is taken: {first.trouble}"
                )
                return second
    return first


def _other_configurations(driver: Driver, folder: Path) -> list[Driver]:
    """The same driver in each other configuration of its project: many projects are kept up in one alone."""
    declared = configurations(folder / str(driver.settings["project"]))
    others = [
        name for name in declared if DRIVER_NAME.fullmatch(name) and [name] != driver.settings["builds"]
    ]
    return [replace(driver, settings={**driver.settings, "builds": [name]}) for name in others[:OTHERS]]


def _examined_sources(found: Folder, driver: Driver, folder: Path) -> Examined:
    try:
        sources = _sources(driver, folder)
        with tempfile.TemporaryDirectory(prefix="winvm-init-") as scratch:
            commands = [
                command
                for command in unit_commands(sources, folder, Path(scratch).resolve())
                if command.unit.language in ("c", "c++")
            ]
            return _examined_units(found, driver, commands)
    except WinvmError as error:
        return Examined(found, driver, trouble=error.message)


def _chosen(drivers: Iterable[Driver], name: str) -> Driver | None:
    ordered = sorted(drivers, key=lambda driver: driver.name.lower() != name.lower())
    return ordered[0] if ordered else None


def _sources(driver: Driver, folder: Path) -> DriverSources:
    """The driver's sources; where a build of its own compiles them, the C and C++ files of the folder."""
    settings = driver.settings
    if "project" in settings:
        builds = settings["builds"]
        build = str(builds[0]) if isinstance(builds, list) else "release"
        return project_sources(folder / str(settings["project"]), driver.name, build)
    patterns = texts(settings.get("sources")) or driver.read or ("*.c*", "src/*.c*")
    include = [*(folder / one for one in texts(settings.get("include"))), folder / "include", folder]
    existing = [entry for entry in patterns if (folder / entry).is_dir() or any(folder.glob(entry))]
    return listed_sources(
        folder, existing, "release", include=include, defines=texts(settings.get("defines"))
    )


def _examined_units(found: Folder, driver: Driver, commands: list[Command]) -> Examined:
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        texts = list(pool.map(preprocess, commands))
    units: list[tuple[Command, OwnText]] = list(zip(commands, texts, strict=True))
    trouble = next((text.trouble for text in texts if text.trouble), "")
    return Examined(found, driver, names_in_sources(texts), control_codes(units), trouble)


def _examined_image(found: Folder, driver: Driver, image: Path) -> Examined:
    try:
        with pefile.PE(str(image)) as opened:
            imported = [
                routine.name.decode("ascii", "replace")
                for module in getattr(opened, "DIRECTORY_ENTRY_IMPORT", [])
                for routine in module.imports
                if routine.name
            ]
        return Examined(found, driver, names_in_driver(image.read_bytes(), imported))
    except (OSError, pefile.PEFormatError) as error:
        return Examined(found, driver, trouble=f"{image} cannot be read: {error}.")

"""Decides how a driver is built, from winvm.toml and the files in the driver's folder."""

from __future__ import annotations

import os
from pathlib import Path

from harness.errors import BuildError
from harness.journal import Journal
from harness.project.config import Config
from harness.toolchain.clang.cmake import build_cmake
from harness.toolchain.clang.compiler import compile_driver
from harness.toolchain.clang.editor import write_editor_files, write_editor_files_of
from harness.toolchain.clang.kit import find_kit
from harness.toolchain.clang.meson import build_meson
from harness.toolchain.clang.sources import DriverSources, folder_sources, listed_sources
from harness.toolchain.driver import build_driver
from harness.toolchain.instrument import additions, instruments, write_tools
from harness.toolchain.msbuild.vcxproj import project_sources

NO_FRAMEWORK = "'wdf.h' file not found"
"""clang's words about a KMDF driver, whose framework only a WDK has."""
SHOWN = 5
"""Missing sources that are named."""
MAKEFILES = ("GNUmakefile", "makefile", "Makefile")


def compile_build(config: Config, name: str, output: Path, journal: Journal) -> Path:
    """Builds one of the builds of winvm.toml, which is not prebuilt, and returns its `.sys`.

    Args:
        name: of the build.
        output: the folder for the driver, its PDB and object files.

    Raises:
        BuildError: the driver does not build.
    """
    driver = config.driver
    added = additions(instruments(config), output)
    if driver.cmake:
        made = build_cmake(config.root / driver.cmake, driver.name, name, output, added)
        write_editor_files_of(config.root, output / "cmake")
        return made
    if driver.meson:
        made = build_meson(config.root / driver.meson, driver.name, name, output, added)
        write_editor_files_of(config.root, output / "meson")
        return made
    sources = driver_sources(config, name)
    if sources is None:
        tools = write_tools(added, output / "tools") if added.objects else None
        return build_driver(config.driver_folder, driver.build, driver.name, name, output, tools)
    _require_present(sources, config.root)
    for note in sources.notes:
        journal.warn(note)
    kit = find_kit(config.root / driver.wdk) if driver.wdk else None
    if kit:
        journal.note(f"compiled with the WDK {kit.version} in {driver.wdk}")
    try:
        compiled = compile_driver(sources, driver.name, config.root, output, kit, added)
    except BuildError as error:
        if NO_FRAMEWORK not in error.detail:
            raise
        raise BuildError(
            f"{driver.name} needs KMDF, which winvm's driver kit does not have: its sources include wdf.h.",
            remedy="Name a WDK's folder in driver.wdk, or the .sys of a build elsewhere in driver.prebuilt. "
            "It runs on a Windows guest: the Wine guest has no KMDF.",
        ) from error
    write_editor_files(config.root, compiled.commands)
    return compiled.driver


def _require_present(sources: DriverSources, root: Path) -> None:
    missing = [os.path.relpath(unit.path, root) for unit in sources.units if not unit.path.exists()]
    if missing:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise BuildError(
            f"The project names sources that are not there: {', '.join(missing[:SHOWN])}{more}.",
            remedy="Copy them, or correct the project. What its own build makes has to be made before.",
        )


def driver_sources(config: Config, build: str) -> DriverSources | None:
    """The sources that winvm itself compiles; None where a build command of the user builds the driver.

    Without `build`, `sources` or `project` the folder decides: a Makefile, else a Visual Studio project, else
    its C and C++ files. The folder is `driver.folder`, or that of winvm.toml where it is missing.

    Raises:
        BuildError: the sources or the project cannot be read.
    """
    driver = config.driver
    if driver.project:
        return project_sources(config.root / driver.project, driver.name, build)
    if driver.sources:
        return _listed(config, config.root, driver.sources, build)
    if "build" in driver.model_fields_set:
        return None
    folder = config.driver_folder if config.driver_folder.is_dir() else config.root
    if any((folder / name).is_file() for name in MAKEFILES):
        return None
    if any(path.suffix.lower() in (".vcxproj", ".sln") for path in folder.iterdir()):
        return project_sources(folder, driver.name, build)
    found = folder_sources(folder)
    return _listed(config, folder, tuple(found), build) if found else None


def _listed(config: Config, base: Path, named: tuple[str, ...], build: str) -> DriverSources:
    driver = config.driver
    return listed_sources(
        base,
        named,
        build,
        include=[config.root / folder for folder in driver.include],
        defines=driver.defines,
        libraries=driver.libraries,
        options=driver.options,
    )

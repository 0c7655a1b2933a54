"""What winvm gives to other build systems: the driver kit's options and libraries, a compiler launcher."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import BuildError, DeadlineError
from harness.host import programs
from harness.host.resources import wdk_folder
from harness.toolchain.clang import flags
from harness.toolchain.clang.additions import Additions
from harness.toolchain.clang.compiler import kit_libraries
from harness.toolchain.clang.diagnostics import first_errors
from harness.toolchain.wdk.casing import write_overlay
from harness.toolchain.wdk.libraries import link_order

BUILD_S = 900.0
LAUNCHER = """#!/bin/sh
# Runs the compiler without the options of cl that a project sets; clang takes a word like /W4 for a file.
for word do
  shift
  case $word in
    /W[0-4X]|/WX-|/Wall|/wd[0-9]*|/w[1-4][0-9]*|/w|/EH*|/Z[7iIcp]|/Zc:*|/G[SRyF]|/G[SRyF]-) ;;
    /O[12dxistb]*|/M[DTP]|/M[DT]d|/nologo|/kernel|/utf-8|/permissive-|/std:*|/FS|/bigobj|/sdl|/sdl-) ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$@"
"""


def driver_kit(folder: Path, output: Path, debug: bool, added: Additions) -> tuple[list[str], list[str]]:
    """The compiler's options for C, and the libraries in the linker's order, for sources below `folder`.

    What they name is written to `output`. added: what an instrumented build adds.
    """
    output.mkdir(parents=True, exist_ok=True)
    kit = wdk_folder() / "include"
    case = write_overlay(output / "case.json", [kit, flags.MINGW, folder])
    common = [*flags.TARGET, *flags.MICROSOFT, *flags.KERNEL, *flags.DEBUG_INFORMATION, *flags.TOLERATED]
    common += [f"-D{define}" for define in (*flags.DEFINES, *flags.VERSION_DEFINES)]
    common += [*flags.optimisation(debug), *flags.headers(kit, case), *added.options]
    return common, list(link_order(kit_libraries(output, case), ()))


def take_driver(tree: Path, name: str, output: Path) -> Path | None:
    """Copies the newest `<name>.sys` in a build's folder, and its PDB, to `output`; None if there is none."""
    driver = max(tree.rglob(f"{name}.sys"), key=lambda path: path.stat().st_mtime_ns, default=None)
    if driver is None:
        return None
    for file in (driver, driver.with_suffix(".pdb")):
        target = output / file.name
        if file.is_file() and not (target.is_file() and target.stat().st_mtime_ns >= file.stat().st_mtime_ns):
            shutil.copyfile(file, target)
    return output / driver.name


def keep(path: Path, text: str) -> Path:
    """Writes a file; an unchanged one is left alone: nothing is built again for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    return path


def run_step(argv: Sequence[str], folder: Path, what: str, log: Path) -> None:
    """Runs a tool of the build system in the project's folder; raises `BuildError` and `HostError`."""
    try:
        done = programs.run(argv, Deadline.after(BUILD_S), folder=folder, merged=True)
    except DeadlineError as error:
        raise BuildError(f"{what} did not finish within {BUILD_S:g} s.") from error
    if done.code:
        raise BuildError(
            f"{what} failed with exit code {done.code}.",
            remedy="Correct the errors shown and run again.",
            detail=first_errors({argv[0]: done.text}, log),
        )

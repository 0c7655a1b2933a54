"""Builds a `.sys` from its sources: compiles what changed, in parallel, and links.

The same sources give the same bytes, whatever the folder they are in: paths in the debug information are
relative to the project's root.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BuildError, HostError
from harness.host.resources import wdk_folder
from harness.toolchain.clang import flags
from harness.toolchain.clang.additions import NOTHING, Additions
from harness.toolchain.clang.commands import Command, unit_command
from harness.toolchain.clang.diagnostics import first_errors
from harness.toolchain.clang.inlines import emitting_inlines
from harness.toolchain.clang.kit import WindowsKit
from harness.toolchain.clang.sources import DriverSources, Unit
from harness.toolchain.wdk.casing import write_overlay
from harness.toolchain.wdk.libraries import build_libraries, link_order
from harness.toolchain.wdk.tracing import write_tracing_headers

TIMEOUT_S = 300.0
"""For one command; no source file of a driver takes longer."""
LOG = "errors.txt"
CASE = "case.json"


@dataclass(frozen=True)
class Compiled:
    """A linked driver and the commands that compiled its units, for editors."""

    driver: Path
    commands: tuple[Command, ...]


def compile_driver(
    sources: DriverSources,
    name: str,
    root: Path,
    output: Path,
    kit: WindowsKit | None = None,
    added: Additions = NOTHING,
) -> Compiled:
    """Compiles and links `<name>.sys` and `<name>.pdb` into `output`.

    Args:
        sources: the driver's sources.
        name: file name of the driver without `.sys`.
        root: the project's folder: paths in the debug information are relative to it.
        output: created when missing; object files are kept in it.
        kit: a WDK, whose headers and libraries are used in place of winvm's driver kit.
        added: what an instrumented build adds.

    Raises:
        BuildError: a unit does not compile, or the driver does not link; `detail` has the first errors.
        HostError: a tool is missing.
    """
    output, root = output.resolve(), root.resolve()
    commands = unit_commands(sources, root, output, kit, added.options)
    made = ""
    if kit:
        linked = kit.link(sources, added)
    else:
        libraries = kit_libraries(output, output / CASE)
        made = hashlib.sha256((libraries / "made-of").read_bytes()).hexdigest()
        linked = [*added.link(sources.entry), *link_order(Path(libraries.name), sources.libraries)]
    _compile_all(commands, name, output)
    try:
        driver = _link(commands, name, output, linked, made)
    except BuildError as error:
        said = (output / LOG).read_text(encoding="utf-8", errors="replace")
        emitting = emitting_inlines(commands, said)
        if emitting is None:
            raise
        _compile_all(emitting, name, output)
        try:
            driver = _link(emitting, name, output, linked, made)
        except BuildError:
            raise error from None
    return Compiled(driver, commands)


def kit_libraries(output: Path, case: Path) -> Path:
    """The driver kit's libraries, made below `output` unless they are there; returns their folder.

    Args:
        case: the overlay that `write_overlay` wrote.
    """
    kit = [flags.CLANG, *flags.TARGET, *flags.MICROSOFT, *flags.KERNEL, *flags.C, "-O2", "-w"]
    kit += [f"-D{define}" for define in (*flags.DEFINES, *flags.VERSION_DEFINES)]
    kit += flags.headers(wdk_folder() / "include", case)
    return build_libraries(output / "wdk", kit, lambda argv, place: _kit(argv, place))


def unit_commands(
    sources: DriverSources,
    root: Path,
    output: Path,
    kit: WindowsKit | None = None,
    more: Sequence[str] = (),
) -> tuple[Command, ...]:
    """The commands that compile the units; writes the generated headers that they include into `output`.

    Args:
        sources, root, output, kit: as in `compile_driver`, absolute.
        more: further options for C and C++ units.

    Raises:
        BuildError: a message file does not compile.
    """
    objects = output / "objects"
    objects.mkdir(parents=True, exist_ok=True)
    generated = output / "generated"
    write_tracing_headers(generated, [unit.path for unit in sources.units], _searched(sources))
    units = [*_messages(sources, generated), *(unit for unit in sources.units if unit.language != "mc")]
    own = [*_searched(sources), *(unit.path.parent for unit in units)]
    if kit:
        case = write_overlay(output / CASE, [*kit.includes, generated, *own])
        headers = flags.kit_headers(kit.includes, case)
    else:
        overlay = wdk_folder() / "include"
        case = write_overlay(output / CASE, [overlay, flags.MINGW, generated, *own])
        headers = flags.headers(overlay, case)
    target = flags.KIT if kit else (*flags.TARGET, *flags.MICROSOFT)
    return tuple(
        unit_command(unit, number, sources.debug, root, objects, generated, headers, target, more)
        for number, unit in enumerate(units)
    )


def _searched(sources: DriverSources) -> list[Path]:
    return list(dict.fromkeys(folder for unit in sources.units for folder in unit.includes))


def _messages(sources: DriverSources, generated: Path) -> list[Unit]:
    """Message files become a header and a resource script, which joins the units."""
    made = []
    for unit in sources.units:
        if unit.language == "mc":
            generated.mkdir(parents=True, exist_ok=True)
            argv = ["x86_64-w64-mingw32-windmc", "-h", str(generated), "-r", str(generated), str(unit.path)]
            code, said = _run(argv, generated)
            if code:
                raise BuildError(
                    f"The message file {unit.path} does not compile.",
                    remedy="Correct the errors shown and run again.",
                    detail=said,
                )
            made.append(Unit(generated / f"{unit.path.stem}.rc", "rc", (generated,)))
    return made


def _compile_all(commands: Sequence[Command], name: str, output: Path) -> None:
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        said = list(pool.map(_compile, commands))
    failed = {str(command.unit.path): text for command, text in zip(commands, said, strict=True) if text}
    log = output / LOG
    if failed:
        raise BuildError(
            f"{len(failed)} of {len(commands)} files of {name} "
            f"{'does' if len(failed) == 1 else 'do'} not compile.",
            remedy="Correct the errors shown and run again.",
            detail=first_errors(failed, log),
        )
    log.unlink(missing_ok=True)


def _compile(command: Command) -> str:
    """Empty if the object is up to date or was made, else the compiler's output."""
    if command.is_current():
        return ""
    command.mark.unlink(missing_ok=True)
    code, said = _run(command.argv, command.folder)
    if code == 0:
        command.mark.write_text(command.digest)
        return ""
    return said or f"error: {command.argv[0]} ended with exit code {code}"


def _link(commands: Sequence[Command], name: str, output: Path, linked: Sequence[str], made: str) -> Path:
    """Links; `linked` are the entry point and the libraries, `made` changes when the libraries do."""
    driver, pdb, mark = output / f"{name}.sys", output / f"{name}.pdb", output / "link"
    argv = [
        flags.LINK,
        *flags.STANDARD_LINK,
        f"/out:{driver.name}",
        f"/pdb:{pdb.name}",
        f"/pdbaltpath:{name}.pdb",
        "/pdbsourcepath:.",  # names stay relative to the root, whatever its name
        *(str(command.object.relative_to(output)) for command in commands),
        *linked,
    ]
    newest = max(command.object.stat().st_mtime_ns for command in commands)
    digest = hashlib.sha256("\0".join([*argv, made]).encode()).hexdigest()
    whole = driver.is_file() and pdb.is_file() and mark.is_file()
    if whole and mark.read_text() == digest and mark.stat().st_mtime_ns > newest:
        return driver
    mark.unlink(missing_ok=True)
    driver.unlink(missing_ok=True)
    code, said = _run(argv, output)
    if code:
        raise BuildError(
            f"{name}.sys does not link.",
            remedy=_missing(said) or "Correct the errors shown and run again.",
            detail=first_errors({f"{name}.sys": said}, output / LOG),
        )
    mark.write_text(digest)
    return driver


def _missing(said: str) -> str:
    """The remedy for errors whose own text explains little: no entry point, undefined symbols."""
    if "<root>" in said or "subsystem must be defined" in said:
        return 'Define the entry point DriverEntry; in C++ it is extern "C".'
    if "undefined symbol" in said:
        return "Name the library that defines the symbols in driver.libraries, or its source."
    return ""


def _kit(argv: Sequence[str], folder: Path) -> None:
    code, said = _run(argv, folder)
    if code:
        raise HostError(
            f"The driver kit's libraries cannot be made: {argv[0]} ended with exit code {code}.",
            remedy="Reinstall the packages of vm/host/packages.txt.",
            detail=said[-4000:],
        )


def _run(argv: Sequence[str], folder: Path) -> tuple[int, str]:
    try:
        done = subprocess.run(
            argv,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        raise HostError(
            f"{argv[0]} cannot be run: {error.strerror}.",
            remedy="Install the packages of vm/host/packages.txt.",
        ) from error
    except subprocess.TimeoutExpired:
        return 1, f"error: {argv[0]} did not finish within {TIMEOUT_S:g} s"
    return done.returncode, done.stdout

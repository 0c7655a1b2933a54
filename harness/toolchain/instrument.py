"""Instrumented builds: what is added to the compilation and the link of a driver for each instrument.

The driver's sources do not change. The bench compiles `driver/instrument/` with the macros of the chosen
instruments and links the objects in; the image then starts at their entry point.
"""

from __future__ import annotations

import enum
import hashlib
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError
from harness.host import programs
from harness.host.resources import instrument_folder
from harness.project.config import Config
from harness.toolchain.clang import flags
from harness.toolchain.clang.additions import ENTRY, NOTHING, OWN_ENTRY, Additions

COMPILE_S = 120.0


class Instrument(enum.StrEnum):
    """What watches the driver from inside its image."""

    COVERAGE = "coverage"
    GUARD = "guard"
    GUIDANCE = "guidance"


Instruments = frozenset[Instrument]

UNIT_OPTIONS: dict[Instrument, tuple[str, ...]] = {
    # Counters are counted up by several threads; a lost count could hide a line behind a difference of two.
    Instrument.COVERAGE: (
        "-fprofile-instr-generate",
        "-fcoverage-mapping",
        "-fprofile-update=atomic",
    ),
    # A call in tail position leaves no frame of the function that made it, which a violation could name.
    Instrument.GUARD: ("-fno-optimize-sibling-calls",),
    Instrument.GUIDANCE: ("-fsanitize-coverage=edge,inline-8bit-counters,trace-cmp",),
}
"""Options for the driver's own units."""

SHARED = ("entry", "channel", "record")
SOURCES: dict[Instrument, tuple[str, ...]] = {
    Instrument.COVERAGE: ("coverage",),
    Instrument.GUARD: (
        *("guard", "guard_arena", "guard_fail", "guard_fault", "guard_freed"),
        *("guard_irp", "guard_irql", "guard_locks"),
        *("guard_mdl", "guard_mutex", "guard_objects", "guard_pool", "guard_real"),
        *("guard_references", "guard_report", "guard_spin", "guard_thread", "guard_timers", "guard_work"),
    ),
    Instrument.GUIDANCE: ("guidance",),
}
"""C files of `driver/instrument/`, without `.c`, that an instrument needs beside the shared ones."""

OWN_OPTIONS = (
    *flags.TARGET,
    *("-std=gnu17", "-O2", "-fms-extensions", "-ffreestanding", "-fasynchronous-unwind-tables"),
    *("-fno-stack-protector", "-mno-red-zone", "-mno-stack-arg-probe"),
    *flags.DEBUG_INFORMATION,
    *("-Wall", "-Wextra", "-Werror", "-Wno-#warnings"),
    *("-D_AMD64_", "-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000000", "-DUNICODE", "-D_UNICODE"),
    *("-isystem", str(flags.MINGW), "-isystem", str(flags.MINGW / "ddk")),
)
"""For the files of `driver/instrument/`, which are written for mingw-w64's driver kit."""

COMPILERS = ("clang", "clang-19", "clang++", "clang++-19")
LINKERS = ("lld-link", "lld-link-19")


def instruments(config: Config) -> Instruments:
    """The instruments that winvm.toml, or an option over it, asks for."""
    driver = config.driver
    asked = {
        Instrument.COVERAGE: driver.coverage,
        Instrument.GUARD: driver.guard,
        Instrument.GUIDANCE: driver.guidance,
    }
    return frozenset(one for one, wanted in asked.items() if wanted)


def label(chosen: Instruments) -> str:
    """`coverage+guard`; empty without any. Names the build's folder and the run in its results."""
    return "+".join(sorted(chosen))


def build_output(config: Config, build: str) -> Path:
    """The folder of a build: instrumented and plain builds never share object files."""
    chosen = label(instruments(config))
    return config.build_folder / (f"instrumented/{chosen}" if chosen else "driver") / build


def additions(chosen: Instruments, output: Path) -> Additions:
    """Compiles what the instruments need into `output/instrument`, and says what to add to the driver.

    Raises:
        HostError: the compiler is missing, or refuses a file of the bench.
    """
    if not chosen:
        return NOTHING
    sources = instrument_folder()
    names = dict.fromkeys([*SHARED, *(name for one in sorted(chosen) for name in SOURCES[one])])
    options = tuple(option for one in sorted(chosen) for option in UNIT_OPTIONS[one])
    command = [flags.CLANG, *OWN_OPTIONS, *(f"-DWINVM_{one.upper()}" for one in sorted(chosen))]
    command += ["-fdebug-compilation-dir=.", f"-ffile-prefix-map={sources}="]
    digest = hashlib.sha256("\0".join([*command, *options, *names, HEAD, COMPILER, LINKER]).encode())
    for path in (*sorted(sources.glob("*.h")), *(sources / f"{name}.c" for name in names)):
        digest.update(path.read_bytes())
    folder = (output / "instrument").resolve()
    objects = tuple(folder / f"{name}.o" for name in names)
    stamp = folder / "made-of"
    if not stamp.is_file() or stamp.read_text() != digest.hexdigest():
        # The driver's own build does not know of these files, and would leave what it made with the old ones.
        shutil.rmtree(output, ignore_errors=True)
        folder.mkdir(parents=True)
        for made in objects:
            _compile(
                [*command, "-Xclang", f"-object-file-name={made.name}"], sources / f"{made.stem}.c", made
            )
        stamp.write_text(digest.hexdigest())
    return Additions(options, objects)


def _compile(command: Sequence[str], source: Path, made: Path) -> None:
    try:
        done = programs.run(
            [*command, "-c", str(source), "-o", str(made)], Deadline.after(COMPILE_S), merged=True
        )
    except DeadlineError as error:
        raise HostError(f"{source} was not compiled within {COMPILE_S:g} s.") from error
    if done.code:
        raise HostError(
            f"{source} does not compile.",
            remedy="Reinstall winvm and the packages of vm/host/packages.txt.",
            detail=done.text[-4000:],
        )


def write_tools(added: Additions, folder: Path) -> Path:
    """Writes programs named as clang and lld-link are, for a build command that calls them by name.

    Each adds what the instruments need and starts the real one: the first of that name in PATH behind this
    folder. A compilation is recognised by `-c`, the link of a driver by `/driver` or `/subsystem:native`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in COMPILERS:
        _program(folder / name, COMPILER.format(options=shlex.join(added.options)))
    objects = shlex.join(str(path) for path in added.objects)
    for name in LINKERS:
        _program(folder / name, LINKER.format(objects=objects, entry=ENTRY, own=OWN_ENTRY))
    return folder


def _program(path: Path, body: str) -> None:
    text = HEAD + body
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


HEAD = """#!/bin/sh
# Written by winvm for an instrumented build.
own=$(dirname "$(readlink -f "$0")")
real=
IFS=:
for place in $PATH; do
  if [ "$(readlink -f "$place")" != "$own" ] && [ -x "$place/${0##*/}" ]; then
    real=$place/${0##*/}
    break
  fi
done
unset IFS
[ -n "$real" ] || { echo "${0##*/}: not found" >&2; exit 127; }
"""
COMPILER = """for word do
  if [ "$word" = -c ]; then
    exec "$real" "$@" {options}
  fi
done
exec "$real" "$@"
"""
LINKER = """entry=DriverEntry
driver=
for word do
  case $word in
    @*) words=$(tr -d '"' < "${{word#@}}") ;;
    *) words=$word ;;
  esac
  for one in $words; do
    case $one in
      [-/][Ee][Nn][Tt][Rr][Yy]:*) entry=${{one#*:}} ;;
      [-/][Dd][Rr][Ii][Vv][Ee][Rr]*) driver=1 ;;
      [-/][Ss][Uu][Bb][Ss][Yy][Ss][Tt][Ee][Mm]:[Nn][Aa][Tt][Ii][Vv][Ee]*) driver=1 ;;
    esac
  done
done
[ -n "$driver" ] || exec "$real" "$@"
exec "$real" {objects} "$@" /entry:{entry} "/alternatename:{own}=$entry"
"""

"""Builds a driver of a Meson project: a cross file and a compiler that links `.sys` are winvm's own.

The driver is a target whose file is `<name>.sys`, such as `executable('lamp', 'lamp.c', name_suffix: 'sys')`.
Format of the cross file: https://mesonbuild.com/Machine-files.html.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import BuildError
from harness.host import programs
from harness.host.llvm import found
from harness.toolchain.clang import flags
from harness.toolchain.clang.additions import NOTHING, Additions
from harness.toolchain.clang.build_system import LAUNCHER, driver_kit, keep, run_step, take_driver
from harness.toolchain.clang.sources import is_debug

INTROSPECT_S = 60.0
AR, STRIP = "llvm-ar-19", "llvm-strip-19"
COMPILER = """#!/bin/sh
# Compiles with clang. What is to be called *.sys is linked as a driver: from the objects and libraries that
# Meson names, with all import libraries of the driver kit in place of those that it names by -l.
out= last=
for word do
  [ "$last" = -o ] && out=$word
  case $word in -c|-E|-S) exec {launcher} "$@" ;; esac
  last=$word
done
case $out in *.sys) ;; *) exec {launcher} "$@" ;; esac
shift
last=
for word do
  shift
  case $last$word in -o*) last= ; continue ;; esac
  case $word in
    -o) last=-o ;;
    *.obj|*.o|*.a|*.lib) set -- "$@" "$word" ;;
  esac
done
exec {link} "/out:$out" "$@" {libraries}
"""


def build_meson(folder: Path, name: str, build: str, output: Path, added: Additions = NOTHING) -> Path:
    """Configures and builds a Meson project, and returns `<name>.sys` in `output`, its PDB beside it.

    Args:
        folder: of the meson.build.
        name: of the driver: its target's file is `<name>.sys`.
        build: a debug build for `debug` or `checked`, else a release build.
        added: what an instrumented build adds.

    Raises:
        BuildError: Meson fails, or makes no such driver; `detail` has the first errors.
        HostError: a tool is missing.
    """
    output, folder = output.resolve(), folder.resolve()
    tree, log = output / "meson", output / "errors.txt"
    before = _written(output)
    cross = _write_cross_file(folder, output, is_debug(build), added)
    what = f"The {build} build of {name} by Meson"
    configure = ["meson", "setup", "--cross-file", str(cross), "--buildtype=plain", str(tree), str(folder)]
    if tree.is_dir():  # Meson keeps the options of the first set-up
        configure.append("--reconfigure" if _written(output) == before else "--wipe")
    run_step(configure, folder, what, log)
    targets = _drivers(tree, name)
    if targets:
        run_step(["ninja", "-C", str(tree), *targets], folder, what, log)
    driver = take_driver(tree, name, output) if targets else None
    if driver is None:
        raise BuildError(
            f"The Meson project {folder} makes no {name}.sys.",
            remedy="Write executable(..., name_suffix: 'sys') there; driver.name in winvm.toml is its name.",
        )
    return driver


def _written(output: Path) -> list[str]:
    """What decides how everything is built: the cross file, and the compiler that it names."""
    files = (output / "cross.ini", output / "compile-or-link")
    return [file.read_text(encoding="utf-8") for file in files if file.is_file()]


def _drivers(tree: Path, name: str) -> list[str]:
    """The target's file, relative to the build's folder."""
    done = programs.run(["meson", "introspect", "--targets", str(tree)], Deadline.after(INTROSPECT_S))
    try:
        files = [Path(file) for target in json.loads(done.text) for file in target["filename"]]
    except (ValueError, KeyError, TypeError) as error:
        raise BuildError(f"Meson does not say what {tree} makes: {error}.") from error
    return [
        str(file.relative_to(tree)) for file in files if file.name == f"{name}.sys" and tree in file.parents
    ]


def _write_cross_file(folder: Path, output: Path, debug: bool, added: Additions) -> Path:
    """Writes cross.ini and what it names; an unchanged file is left alone: nothing is built again."""
    common, libraries = driver_kit(folder, output, debug, added)
    launcher = keep(output / "compile", LAUNCHER)
    launcher.chmod(0o755)
    link = [found(flags.LINK), *flags.STANDARD_LINK, *added.link("DriverEntry"), "/pdbaltpath:%_PDB%"]
    words = {
        "launcher": shlex.quote(str(launcher)),
        "link": shlex.join(link),
        "libraries": shlex.join(libraries),
    }
    compiler = COMPILER
    for key, value in words.items():
        compiler = compiler.replace(f"{{{key}}}", value)
    wrapper = keep(output / "compile-or-link", compiler)
    wrapper.chmod(0o755)
    target = [*flags.TARGET, "-fuse-ld=lld"]  # so that Meson finds the linker for Windows
    lines = [
        "[binaries]",
        f"c = {_list([str(wrapper), found(flags.CLANG), *target])}",
        f"cpp = {_list([str(wrapper), found(flags.CLANGXX), *target])}",
        f"ar = '{found(AR)}'",
        f"strip = '{found(STRIP)}'",
        "[built-in options]",
        f"c_args = {_list(common)}",
        f"cpp_args = {_list([*common, *flags.CXX])}",
        "[properties]",
        "needs_exe_wrapper = true",
        "skip_sanity_check = true",  # it would link a program
        "[host_machine]",
        "system = 'windows'",
        "cpu_family = 'x86_64'",
        "cpu = 'x86_64'",
        "endian = 'little'",
    ]
    return keep(output / "cross.ini", "\n".join([*lines, ""]))


def _list(words: Sequence[str]) -> str:
    quoted = (word.replace("\\", "\\\\").replace("'", "\\'") for word in words)
    return "[" + ", ".join(f"'{word}'" for word in quoted) + "]"

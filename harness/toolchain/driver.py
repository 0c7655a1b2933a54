"""Builds a driver by its own build command and returns the path of the `.sys`.

The sample driver's command is its Makefile. A user's command may be anything that leaves `<name>.sys` in the
given folder. The command chooses the compiler; nothing here depends on it.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import BuildError
from harness.host import programs
from harness.toolchain.clang.diagnostics import ERROR, first_errors

TIMEOUT_S = 900.0  # longer than any driver's build; a build that waits for input would never end
END_S = 5.0
LOG = "errors.txt"
MAX_OUTPUT = 64 << 10  # characters of compiler output kept in an error


def build_driver(
    folder: Path, command: Sequence[str], name: str, build: str, output: Path, tools: Path | None = None
) -> Path:
    """Runs `command` in `folder` and returns the `.sys`; its PDB, if any, lies beside it as `<name>.pdb`.

    Args:
        folder: where the command runs.
        command: program and arguments; `{build}`, `{out}` and `{python}` in them are replaced.
        name: file name of the driver without `.sys`.
        build: which build, e.g. `release`.
        output: folder for the result, created when missing.
        tools: folder with programs that stand for the compiler and the linker.

    Raises:
        BuildError: the command cannot be run, fails, or leaves no driver; `detail` is its output, or the
            first errors in it: errors.txt in `output` has the whole.
    """
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    words = {"{build}": build, "{out}": _without_space(output, folder), "{python}": sys.executable}
    argv = [re.sub(r"\{(build|out|python)\}", lambda found: words[found[0]], part) for part in command]
    try:
        code, said = _run(argv, folder, tools)
    except programs.MissingProgramError as error:
        why = error.__cause__.strerror if isinstance(error.__cause__, OSError) else error.message
        raise BuildError(
            f"The driver's build command {argv[0]!r} cannot be run in {folder}: {why}.",
            remedy="Install it, or correct driver.build and driver.folder in winvm.toml.",
        ) from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(
            f"The {build} build of {name} did not finish within {TIMEOUT_S:g} s.",
            remedy=f"Run it by hand in {folder}: {' '.join(argv)}",
            detail=_text(error.output),
        ) from error
    if code != 0:
        raise BuildError(
            f"The {build} build of {name} failed with exit code {code}.",
            remedy="Correct the errors shown and run again.",
            detail=_errors(name, said, output / LOG),
        )
    driver = output / f"{name}.sys"
    if not driver.is_file():
        raise BuildError(
            f"The {build} build of {name} succeeded but left no {driver}.",
            remedy="Make driver.build in winvm.toml put <driver.name>.sys into {out}.",
            detail=_text(said),
        )
    return driver


def _without_space(output: Path, folder: Path) -> str:
    """The result's folder, relative if only the absolute path has a space: make cannot handle spaces."""
    relative = os.path.relpath(output, folder.resolve())
    return relative if " " in str(output) and " " not in relative else str(output)


def _run(argv: Sequence[str], folder: Path, tools: Path | None) -> tuple[int, bytes]:
    """Exit code and output; programs in `tools` are found before others of the same name.

    The command has its own process group: a time-out ends all its processes.
    """
    path = (
        {"PATH": os.pathsep.join([str(tools.resolve()), os.environ.get("PATH", os.defpath)])}
        if tools
        else None
    )
    process = programs.start(
        argv,
        folder=folder,
        environment=path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        own_group=True,
    )
    with process:
        try:
            said, _ = process.communicate(timeout=TIMEOUT_S)
        except BaseException:
            _end(process)
            raise
    return process.returncode, said


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends with a signal that make handles: make removes unfinished targets and waits for its compilers."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=END_S)


def _errors(name: str, said: bytes, log: Path) -> str:
    """The first errors, of which the later ones may only be consequences; `log` gets the whole output."""
    text = _text(said)
    shown = first_errors({name: text}, log)
    return shown if ERROR.search(text) else text


def _text(output: bytes | None) -> str:
    """The end of a command's output, where the errors are."""
    return (output or b"").decode(errors="replace").replace("\r\n", "\n")[-MAX_OUTPUT:].strip()

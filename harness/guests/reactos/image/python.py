"""Windows CPython made fit for a ReactOS: the pinned interpreter with the support libraries in its tables."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from harness.errors import ImageError
from harness.guests.reactos.image.imports import exports_by_name, imports_of, redirect, unmet
from harness.guests.reactos.image.recipe import PythonParts
from harness.guests.reactos.image.support import NEEDED, build_library
from harness.host.resources import vm_folder

SITE = "sitecustomize.py"
NEEDED_MODULES = frozenset({"_ctypes.pyd"})
"""Extension modules that the agent and the endpoint cannot do without."""
_EXECUTABLE = frozenset({".exe", ".dll", ".pyd"})


def install(archive: Path, parts: PythonParts, system: Path, target: Path, work: Path) -> list[str]:
    """Unpacks an interpreter into `target` and makes it fit; returns the modules that are left out.

    A module is left out if the guest lacks what it imports and the agent does without it.

    Args:
        archive: the zip of `windows.image.python.python_zip`, whose signatures are verified.
        system: the guest's system32.
        work: a folder for what the compiler writes.

    Raises:
        ImageError: the guest lacks something that the interpreter or a support library needs; names it.
    """
    unpack(archive, parts, target)
    executables = [path for path in sorted(target.rglob("*")) if path.suffix in _EXECUTABLE]
    named = {one.module for path in executables for one in imports_of(path)}
    named |= {module for library in parts.libraries for module in library.modules} | set(NEEDED)
    files = (path for path in system.iterdir() if path.name.lower() in named and path.is_file())
    exports = dict(exports_by_name(files))
    made = []
    for library in parts.libraries:
        built = build_library(library, exports, work / Path(library.name).stem)
        made.append(target / library.name)
        shutil.copyfile(built, made[-1])
    for path in executables:
        redirect(path, parts.libraries)
    exports |= exports_by_name([*executables, *made])
    shutil.copyfile(vm_folder() / "reactos" / "guest" / SITE, target / "Lib" / SITE)
    return _leave_out(unmet([*executables, *made], exports), target / "DLLs")


def _leave_out(missing: dict[str, list[str]], modules: Path) -> list[str]:
    """Removes what cannot be loaded; raises `ImageError` if the agent needs it."""
    names = sorted({name for files in missing.values() for name in files})
    if needed := [name for name in names if name in NEEDED_MODULES or not (modules / name).is_file()]:
        lacks = sorted(name for name, files in missing.items() if set(files) & set(needed))
        raise ImageError(
            f"The guest's system lacks what {', '.join(needed)} of Windows Python import:"
            f" {', '.join(lacks)[:600]}.",
            remedy="Add the routines to a support library in vm/reactos, or use another build of ReactOS.",
        )
    for name in names:
        (modules / name).unlink()
    return names


def unpack(archive: Path, parts: PythonParts, target: Path) -> None:
    """Extracts what the recipe does not exclude, and moves the modules' libraries beside python.exe."""
    with zipfile.ZipFile(archive) as content:
        for name in content.namelist():
            if not any(Path(name).match(pattern) for pattern in parts.excluded):
                content.extract(name, target)
    for name in parts.beside_python:
        if (target / "DLLs" / name).is_file():
            (target / "DLLs" / name).replace(target / name)

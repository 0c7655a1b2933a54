"""Makes the support libraries: own routines compiled from C, all others handed on to the guest's modules.

A library is linked against what the guest's modules export, and nothing else. A routine that it needs and the
guest lacks is therefore an error here, and not in the guest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.reactos.image.recipe import Library
from harness.host import programs
from harness.images.freestanding import CLANG, COMPILE, LINK, UNAIDED

IMPORTS = "llvm-dlltool-19"
MINGWEX = Path("/usr/x86_64-w64-mingw32/lib/libmingwex.a")
"""C99's mathematics for Windows, of the package mingw-w64-x86-64-dev."""
TOOL_S = 60.0
OWN = ("-fno-builtin", "-D_WIN32_WINNT=0x0A00")
SHARED = (
    *("/dll", "/noentry", *UNAIDED, "/release"),
    *("/dynamicbase", "/nxcompat", "/merge:.CRT=.rdata"),
)
NEEDED = ("ntdll.dll", "kernel32.dll", "ucrtbase.dll")
"""Modules of the guest that the own routines may use."""
_NAME = re.compile(r"[A-Za-z_]\w*\Z")

Exports = Mapping[str, frozenset[str]]
"""Names that each of the guest's modules exports, by the module's file name in lower case."""


def handed_on(library: Library, exports: Exports) -> dict[str, str]:
    """Routine -> the guest's module that has it, for all that the library does not have itself."""
    found: dict[str, str] = {}
    for module in library.modules:
        for name in exports.get(module, frozenset()):
            if _NAME.match(name):
                found.setdefault(name, module)
    return {name: module for name, module in found.items() if name not in library.own}


def build_library(library: Library, exports: Exports, folder: Path) -> Path:
    """Compiles and links one library into `folder`; the same inputs give the same bytes.

    Raises:
        ImageError: it does not compile, or needs a routine that the guest's modules do not export.
        HostError: a tool is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    objects = []
    for source in library.sources:
        objects.append(f"{source.stem}.o")
        _run([CLANG, *COMPILE, *OWN, "-c", str(source), "-o", objects[-1]], folder, library)
    imports, hidden = [], frozenset(library.own) - frozenset(library.wraps)
    for module in NEEDED:
        stem = Path(module).stem
        names = sorted(name for name in exports.get(module, frozenset()) - hidden if _NAME.match(name))
        (folder / f"{stem}.def").write_text("\n".join([f"LIBRARY {module}", "EXPORTS", *names, ""]))
        imports.append(f"{stem}.lib")
        _run([IMPORTS, "-m", "i386:x86-64", "-d", f"{stem}.def", "-l", imports[-1]], folder, library)
    definition = folder / f"{Path(library.name).stem}.exports.def"
    definition.write_text(_definition(library, exports))
    link = [
        LINK,
        *SHARED,
        f"/def:{definition.name}",
        f"/out:{library.name}",
        *objects,
        *imports,
        str(MINGWEX),
    ]
    _run(link, folder, library)
    return folder / library.name


def _definition(library: Library, exports: Exports) -> str:
    lines = [
        f"LIBRARY {library.name}",
        "EXPORTS",
        *(f"{name} = winvm_{name}" for name in sorted(library.own)),
    ]
    others = handed_on(library, exports)
    lines += [f"{name} = {Path(others[name]).stem}.{name}" for name in sorted(others)]
    return "\n".join([*lines, ""])


def _run(argv: list[str], folder: Path, library: Library) -> None:
    done = programs.run(argv, Deadline.after(TOOL_S), folder=folder)
    if done.code:
        raise ImageError(
            f"The support library {library.name} cannot be made: {argv[0]} ended with exit code {done.code}.",
            remedy="Read the messages below; a symbol that is undefined is missing in the guest's modules.",
            detail=done.said,
        )

"""Builds the program that writes minidumps in the Wine guest, `vm/wine/crashdump.c`, for its prefix."""

from __future__ import annotations

from pathlib import Path

from harness.images.contained import Toolbox
from harness.images.freestanding import CLANG, COMPILE, LINK, UNAIDED
from harness.images.prefix import DRIVE_C
from harness.images.recipe import Recipe

SOURCE = "crashdump.c"
PROGRAM = Path("winvm/crashdump.exe")
"""In the guest's drive C; `vm/wine/prefix.reg` names it."""
LIBRARIES = Path("/usr/x86_64-w64-mingw32/lib")
"""Import libraries, of the package mingw-w64-x86-64-dev."""
IMPORTS = ("libkernel32.a", "libdbghelp.a", "libntdll.a")


def add_crashdump(recipe: Recipe, root: Path, work: Path, tools: Toolbox) -> None:
    """Compiles it into the prefix of `root`.

    Raises:
        HostError: the compiler or the linker is missing.
        ImageError: it does not compile.
    """
    compiled = work / "crashdump.o"
    tools.run([CLANG, *COMPILE, "-c", str(recipe.folder / SOURCE), "-o", str(compiled)])
    imports = [str(LIBRARIES / name) for name in IMPORTS]
    program = [*UNAIDED, "/entry:Start", "/subsystem:console"]
    tools.run([LINK, *program, f"/out:{root / DRIVE_C / PROGRAM}", str(compiled), *imports])

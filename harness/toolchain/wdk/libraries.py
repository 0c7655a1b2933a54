"""Makes the libraries that a driver is linked with: imports of Windows' modules, and static routines.

The import libraries come from the lists of `wdk.exports` by llvm-dlltool; `wdk.lib` holds the static routines
that the WDK links into a driver, compiled from `driver/wdk/lib`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.host.resources import wdk_folder
from harness.toolchain.wdk.exports import KernelModule, kernel_modules

FIRST = ("hal.dll", "ntoskrnl.exe")
"""Linked before the other modules, several of which forward routines of these two. hal.dll is first: a new
ntoskrnl.exe exports hal's routines too, and an older Windows would refuse a driver importing them there."""
STATIC = "wdk.lib"

Run = Callable[[Sequence[str], Path], None]
"""Runs a command in a folder; raises when it fails."""


def build_libraries(folder: Path, compile_command: Sequence[str], run: Run) -> Path:
    """Makes every library in `folder`, unless they exist, and returns the folder.

    Args:
        compile_command: clang with the options of a driver, without input and output.
    """
    sources = sorted((wdk_folder() / "lib").glob("*.c"))
    stamp = folder / "made-of"
    digest = hashlib.sha256("\0".join(compile_command).encode())
    for path in (*sources, *sorted((wdk_folder() / "exports").glob("*.txt")), *_headers()):
        digest.update(path.read_bytes())
    if stamp.is_file() and stamp.read_text() == digest.hexdigest():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    for module in kernel_modules().values():
        definition = folder / f"{module.name}.def"
        definition.write_text(_definition(module))
        run(
            ["llvm-dlltool-19", "-m", "i386:x86-64", "-d", definition.name, "-l", library_name(module.name)],
            folder,
        )
    objects = []
    for source in sources:
        objects.append(f"{source.stem}.o")
        run([*compile_command, "-c", str(source), "-o", objects[-1]], folder)
    run(["llvm-lib-19", f"/out:{STATIC}", *objects], folder)
    stamp.write_text(digest.hexdigest())
    return folder


def library_name(module: str) -> str:
    """`fltmgr.lib` for `fltmgr.sys`."""
    return f"{Path(module).stem}.lib"


def link_order(folder: Path, named: Sequence[str | Path]) -> list[str]:
    """The libraries in link order: the project's own, those it names, then all others.

    So a routine that several modules export is imported from the module that the project names.
    """
    modules = [*FIRST, *(name for name in kernel_modules() if name not in FIRST)]
    known = {Path(module).stem: module for module in modules}
    own = [str(path) for path in named if isinstance(path, Path)]
    chosen = [known[name] for name in named if isinstance(name, str) and name in known]
    ordered = dict.fromkeys([*(m for m in chosen if m not in FIRST), *modules])
    return [*own, str(folder / STATIC), *(str(folder / library_name(module)) for module in ordered)]


def _definition(module: KernelModule) -> str:
    """A module-definition file. CONSTANT: the variable's own name is the import's slot, as in the WDK."""
    lines = [f"LIBRARY {module.name}", "EXPORTS", *sorted(module.routines)]
    return "\n".join([*lines, *(f"{name} CONSTANT" for name in sorted(module.variables)), ""])


def _headers() -> list[Path]:
    return sorted(path for path in (wdk_folder() / "include").rglob("*") if path.is_file())

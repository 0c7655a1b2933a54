"""A WDK that the user has: headers and libraries in the layout of the WDK, the EWDK and the NuGet package.

    Include/<version>/km, km/crt, shared, um, ucrt     Include/wdf/kmdf/<version>
    Lib/<version>/km/x64                               Lib/wdf/kmdf/x64/<version>

These lie in the named folder, or in `Windows Kits/10`, `Program Files/Windows Kits/10` or `c` below it. Names
are compared without regard to case: the folder may come from Windows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import BuildError
from harness.toolchain.clang.additions import NOTHING, Additions
from harness.toolchain.clang.sources import DriverSources, Unit
from harness.toolchain.wdk.casing import in_any_case
from harness.toolchain.wdk.text import source_text

PLACES = ("", "Windows Kits/10", "Program Files/Windows Kits/10", "Program Files (x86)/Windows Kits/10", "c")
KERNEL = ("km/crt", "km", "shared", "um", "ucrt")
ALWAYS = ("BufferOverflowFastFailK", "ntoskrnl", "hal", "wmilib")
"""Libraries that a driver is linked with, whatever it names; those that the kit lacks are left out."""
KMDF_LIBRARIES, KMDF_ENTRY = ("WdfDriverEntry", "WdfLdr"), "FxDriverEntry"
_KMDF = re.compile(rb"^[ \t]*#[ \t]*include[ \t]*[<\"]wdf\.h[>\"]", re.MULTILINE | re.IGNORECASE)
_VERSION = re.compile(r"\d+(\.\d+){1,3}")


@dataclass(frozen=True)
class WindowsKit:
    """One version of a WDK.

    Attributes:
        version: as `10.0.26100.0`.
        includes: folders with headers, in the order in which they are searched.
        libraries: folders with import libraries.
    """

    version: str
    includes: tuple[Path, ...]
    libraries: tuple[Path, ...]

    def library(self, name: str) -> Path | None:
        """The file of a library, named with or without `.lib`; None if the kit does not have it."""
        wanted = f"{name.lower().removesuffix('.lib')}.lib"
        for folder in self.libraries:
            for path in folder.iterdir():
                if path.name.lower() == wanted:
                    return path
        return None

    def link(self, sources: DriverSources, added: Additions = NOTHING) -> list[str]:
        """The libraries that a driver is linked with, and its entry point.

        Raises:
            BuildError: it names a library that the kit does not have.
        """
        kmdf = uses_kmdf(sources.units)
        words = [str(path) for path in sources.libraries if isinstance(path, Path)]
        for name in sources.libraries:
            if isinstance(name, str):
                found = self.library(name)
                if found is None:
                    raise BuildError(
                        f"The WDK {self.version} has no library {name}.lib for x64 kernel mode.",
                        remedy="Correct driver.libraries or the project, or name another WDK in driver.wdk.",
                    )
                words.append(str(found))
        usual = (self.library(name) for name in (*(KMDF_LIBRARIES if kmdf else ()), *ALWAYS))
        words += [str(path) for path in usual if path]
        return [*added.link(KMDF_ENTRY if kmdf else sources.entry), *dict.fromkeys(words)]


def find_kit(folder: Path) -> WindowsKit:
    """The newest version of the WDK in a folder.

    Raises:
        BuildError: there is none.
    """
    for place in PLACES:
        root = _below(folder, place)
        include, libraries = _below(root, "Include"), _below(root, "Lib")
        for version in _versions(include):
            kernel, lib = _below(include, f"{version}/km"), _below(libraries, f"{version}/km/x64")
            if kernel.is_dir() and lib.is_dir():
                searched = [_below(include, f"{version}/{name}") for name in KERNEL]
                linked = [lib]
                for kmdf in _versions(_below(include, "wdf/kmdf"))[:1]:
                    searched.append(_below(include, f"wdf/kmdf/{kmdf}"))
                    linked.append(_below(libraries, f"wdf/kmdf/x64/{kmdf}"))
                return WindowsKit(
                    version,
                    tuple(path for path in searched if path.is_dir()),
                    tuple(path for path in linked if path.is_dir()),
                )
    raise BuildError(
        f"There is no WDK in {folder}: no Include/<version>/km with Lib/<version>/km/x64.",
        remedy="Name in driver.wdk the folder of a WDK or EWDK, or of the package Microsoft.Windows.WDK.x64.",
    )


def uses_kmdf(units: Sequence[Unit]) -> bool:
    """Whether a unit, or a header beside one, includes wdf.h."""
    folders = dict.fromkeys(unit.path.parent for unit in units)
    headers = (path for folder in folders for path in sorted(folder.glob("*.[hH]*")))
    return any(_KMDF.search(source_text(path)) for path in (*(unit.path for unit in units), *headers))


def _versions(folder: Path) -> list[str]:
    """Names of the folders that are versions, newest first."""
    names: Iterable[str] = (path.name for path in folder.iterdir()) if folder.is_dir() else ()
    numbered = [name for name in names if _VERSION.fullmatch(name)]
    return sorted(numbered, key=lambda name: [int(part) for part in name.split(".")], reverse=True)


def _below(folder: Path, relative: str) -> Path:
    """A path below a folder, each of its parts in any case."""
    return functools.reduce(in_any_case, Path(relative).parts, folder)

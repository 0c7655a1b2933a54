"""The names that Windows' kernel modules export, as data: `driver/wdk/exports/<module>.txt` with its sources.

Import libraries are made from these lists, and a driver's imports are compared with them.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness.errors import HostError
from harness.host.resources import wdk_folder


@dataclass(frozen=True)
class KernelModule:
    """One module of Windows' kernel.

    Attributes:
        name: its file name in lower case, as an import table has it.
        routines: exported functions.
        variables: exported data.
        sources: origins of the names, with versions.
    """

    name: str
    routines: frozenset[str]
    variables: frozenset[str]
    sources: tuple[str, ...]

    @property
    def names(self) -> frozenset[str]:
        """Everything that it exports."""
        return self.routines | self.variables


@functools.cache
def kernel_modules() -> Mapping[str, KernelModule]:
    """Module name -> what it exports, sorted by name.

    Raises:
        HostError: the lists are missing or damaged.
    """
    found = {}
    for path in sorted((wdk_folder() / "exports").glob("*.txt")):
        found[path.stem] = _parsed(path.stem, path.read_text(encoding="utf-8"))
    if "ntoskrnl.exe" not in found:
        raise HostError("The lists of what Windows' kernel exports are missing.", remedy="Reinstall winvm.")
    return MappingProxyType(found)


def exporters(name: str) -> list[str]:
    """The kernel modules that export a name."""
    return [module.name for module in kernel_modules().values() if name in module.names]


def _parsed(name: str, text: str) -> KernelModule:
    routines: set[str] = set()
    variables: set[str] = set()
    sources = []
    for line in text.splitlines():
        if line.startswith("#   "):
            sources.append(line[4:])
        elif line and not line.startswith("#"):
            word, _, mark = line.partition(" ")
            (variables if mark == "DATA" else routines).add(word)
    return KernelModule(name, frozenset(routines), frozenset(variables), tuple(sources))

"""What an instrumented build adds to a driver: options for its units, objects, and another entry point."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ENTRY = "WinvmInstrumentedEntry"
OWN_ENTRY = "WinvmOwnEntry"


@dataclass(frozen=True)
class Additions:
    """Added to every compilation and to the link; nothing by default.

    Attributes:
        options: for clang, for each C and C++ unit.
        objects: absolute, linked before the driver's libraries.
    """

    options: tuple[str, ...] = ()
    objects: tuple[Path, ...] = ()

    def link(self, entry: str) -> list[str]:
        """Options for lld-link, to stand in place of `/entry:<entry>`.

        The image starts at the objects' entry point, which calls the driver's own by a second name.
        """
        if not self.objects:
            return [f"/entry:{entry}"]
        return [
            *(str(path) for path in self.objects),
            f"/entry:{ENTRY}",
            f"/alternatename:{OWN_ENTRY}={entry}",
        ]


NOTHING = Additions()

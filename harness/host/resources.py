"""Finds the files that are not Python modules of the harness: guest/, vm/, the driver's public
headers and the driver kit's overlay.

A source tree has them beside `harness/`; an installed wheel carries copies under `harness/_bundled/`.
"""

from __future__ import annotations

from pathlib import Path

from harness.errors import HostError

PACKAGE = Path(__file__).resolve().parents[1]


def guest_folder() -> Path:
    """Folder with `agent/`, `winrmd/` and the sample `scenarios/`; raises `HostError` if it is missing."""
    return _folder("guest")


def vm_folder() -> Path:
    """Folder with the image recipes, domain templates and profiles; raises `HostError` if it is missing."""
    return _folder("vm")


def wdk_folder() -> Path:
    """Folder with what mingw-w64's driver kit lacks: `include/`, `lib/`, `exports/`; raises `HostError`."""
    return _folder("driver/wdk")


def instrument_folder() -> Path:
    """Folder with the C files of an instrumented build, which are linked into it; raises `HostError`."""
    return _folder("driver/instrument")


def _folder(name: str, package: Path = PACKAGE) -> Path:
    """The bundled copy when there is one: an installed wheel may lie beside somebody else's `guest/`."""
    for candidate in (package / "_bundled" / name, package.parent / name):
        if candidate.is_dir():
            return candidate
    raise HostError(
        f"The folder {name} is missing beside {package}.",
        remedy="Reinstall winvm, or run it from a complete source tree.",
    )

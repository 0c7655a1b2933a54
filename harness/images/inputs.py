"""Everything a Wine guest image is made from that does not come from a package registry, and its digest."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.host import programs, resources
from harness.images.recipe import Recipe, folder_files, input_digest, read_recipe

PACK_SECONDS = 60.0
_NOT_BUILDING = frozenset({"base.py", "mirror.py"})
"""Modules of this package that take no part in a build; the digest leaves them out."""


@dataclass(frozen=True)
class Inputs:
    """Recipe, guest programs, and the hex SHA-256 over them and over the code that builds."""

    recipe: Recipe
    winrmd: bytes
    standby: bytes
    seriald: bytes
    digest: str


def gather(vm: Path | None = None, guest: Path | None = None) -> Inputs:
    """Reads the inputs from the source tree or the installed wheel.

    Raises:
        HostError: the installation is incomplete.
        ImageError: the recipe cannot be used, or a program of the guest cannot be packed.
    """
    recipe = read_recipe((vm or resources.vm_folder()) / "wine")
    guest = guest or resources.guest_folder()
    winrmd = _pack("WinRM endpoint", guest / "winrmd")
    seriald = _pack("serial endpoint", guest / "seriald")
    standby = (guest / "agent" / "standby.py").read_bytes()
    code = folder_files(Path(__file__).parent, "code", "*.py")
    files = folder_files(recipe.folder, "recipe") | {"winrmd.pyz": winrmd, "seriald.pyz": seriald}
    files["standby.py"] = standby
    files |= {name: content for name, content in code.items() if Path(name).name not in _NOT_BUILDING}
    return Inputs(recipe, winrmd, standby, seriald, input_digest(files))


def _pack(what: str, package: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "packed.pyz"
        packing = [sys.executable, str(package / "archive.py"), str(target)]
        packed = programs.run(packing, Deadline.after(PACK_SECONDS))
        if packed.code:
            raise ImageError(
                f"The {what} in {package} cannot be packed.",
                remedy="Reinstall winvm, or correct the sources.",
                detail=packed.said,
            )
        return target.read_bytes()

"""A prebuilt driver package: an INF, its catalogue and files, deployed unchanged.

A package is signed by its catalogue, which holds a hash of every other file: changing one breaks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from harness.errors import BuildError

FILES_LIMIT = 500
SIZE_LIMIT = 512 << 20
"""Bytes of all files; a larger folder holds more than a driver package."""


@dataclass(frozen=True)
class Package:
    """One driver package.

    Attributes:
        inf: the INF on the host.
        files: every file in its folder and the folders below, sorted.
    """

    inf: Path
    files: tuple[Path, ...]

    def placed(self, folder: PureWindowsPath) -> dict[str, Path]:
        """Guest path -> file, with the package's folder as `folder`."""
        root = self.inf.parent
        return {str(folder.joinpath(*file.relative_to(root).parts)): file for file in self.files}

    def certificates(self, folder: PureWindowsPath) -> list[str]:
        """Guest paths of the certificates among the files; the guest must trust them."""
        return [path for path, file in self.placed(folder).items() if file.suffix.lower() == ".cer"]


def take_package(inf: Path) -> Package:
    """Lists the files in the INF's folder.

    Raises:
        BuildError: there is no such INF, or its folder holds more than a driver package does.
    """
    if inf.suffix.lower() != ".inf" or not inf.is_file():
        raise BuildError(
            f"There is no driver package {inf}.", remedy="Correct driver.inf in winvm.toml; it names an .inf."
        )
    files = tuple(sorted(file for file in inf.parent.rglob("*") if file.is_file()))
    size = sum(file.stat().st_size for file in files)
    if len(files) > FILES_LIMIT or size > SIZE_LIMIT:
        raise BuildError(
            f"The folder of {inf} holds {len(files)} files of {size >> 20} MiB: not a driver package.",
            remedy="Put the INF, its catalogue and its files into a folder of their own.",
        )
    return Package(inf, files)

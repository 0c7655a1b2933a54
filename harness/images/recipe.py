"""The recipe of the Wine guest: `vm/wine/recipe.toml`, the files beside it, and the digest over all of it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import ImageError


@dataclass(frozen=True)
class PythonRecipe:
    """Where Windows CPython is in its sdist, what of it is left out, and who must have signed the rest."""

    archive: str
    folder: str
    version: str
    excluded: tuple[str, ...]
    signer: str


@dataclass(frozen=True)
class Recipe:
    """`recipe.toml`, typed; the file's comments say what each entry is for."""

    folder: Path
    suite: str
    packages: tuple[str, ...]
    kernel_package: str
    modules: tuple[str, ...]
    excluded_paths: tuple[str, ...]
    cmdline: str
    disk_mib: int
    python: PythonRecipe


def read_recipe(folder: Path) -> Recipe:
    """The recipe in `folder`.

    Raises:
        ImageError: unreadable, or an entry is missing or of the wrong kind.
    """
    path = folder / "recipe.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        python = table["python"]
        return Recipe(
            folder=folder,
            suite=str(table["suite"]),
            packages=tuple(table["packages"]),
            kernel_package=str(table["kernel_package"]),
            modules=tuple(table["modules"]),
            excluded_paths=tuple(table["excluded_paths"]),
            cmdline=str(table["cmdline"]),
            disk_mib=int(table["disk_mib"]),
            python=PythonRecipe(
                str(python["archive"]),
                str(python["folder"]),
                str(python["version"]),
                tuple(python["excluded"]),
                str(python["signer"]),
            ),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            f"The image recipe {path} cannot be used: {error}.",
            remedy="Reinstall winvm, or correct the file.",
        ) from error


def input_digest(files: Mapping[str, bytes]) -> str:
    """Hex SHA-256 over named contents; neither order nor time stamps nor file modes count."""
    total = hashlib.sha256()
    for name in sorted(files):
        for part in (name.encode(), files[name]):
            total.update(len(part).to_bytes(8, "little"))
            total.update(part)
    return total.hexdigest()


def folder_files(folder: Path, prefix: str, pattern: str = "**/*") -> dict[str, bytes]:
    """Contents of the files below `folder`, named `prefix/<relative path>`; byte code is left out."""
    return {
        f"{prefix}/{path.relative_to(folder).as_posix()}": path.read_bytes()
        for path in folder.glob(pattern)
        if path.is_file() and "__pycache__" not in path.parts
    }

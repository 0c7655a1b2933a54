"""Takes a prebuilt driver, without sources, as if a build had left it here."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.errors import BuildError
from harness.host.digest import file_sha256


def take_prebuilt(source: Path, name: str, output: Path) -> Path:
    """Copies `source` to `<name>.sys` in `output`, and the PDB beside it, if any, to `<name>.pdb`.

    The copy is signed and deployed; it stays the same while `source` does.

    Raises:
        BuildError: there is no such file, or it cannot be copied.
    """
    driver, origin = output / f"{name}.sys", output / f"{name}.origin"
    symbols = source.with_suffix(".pdb")
    try:
        digest = file_sha256(source)
        output.mkdir(parents=True, exist_ok=True)
        if not driver.is_file() or not origin.is_file() or origin.read_text() != digest:
            origin.unlink(missing_ok=True)
            shutil.copyfile(source, driver)
            origin.write_text(digest)
        if symbols.is_file():
            shutil.copyfile(symbols, driver.with_suffix(".pdb"))
    except OSError as error:
        raise BuildError(
            f"The prebuilt driver {source} cannot be copied: {error.strerror}.",
            remedy="Correct driver.prebuilt in winvm.toml.",
        ) from error
    return driver

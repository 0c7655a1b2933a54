"""Reads which projects a Visual Studio solution has."""

from __future__ import annotations

import re
from pathlib import Path

from harness.errors import BuildError
from harness.toolchain.msbuild.paths import resolve

SIZE_LIMIT = 4 << 20
PROJECT_LIMIT = 500
_PROJECT = re.compile(r'^Project\("\{[^}"]*\}"\)\s*=\s*"([^"]*)",\s*"([^"]*\.vcxproj)"', re.MULTILINE)


def projects_of(solution: Path) -> dict[str, Path]:
    """Name -> .vcxproj of each project that exists, in the order of the file.

    Raises:
        BuildError: it cannot be read, or names no project that exists.
    """
    try:
        with solution.open("rb") as file:
            text = file.read(SIZE_LIMIT).decode("utf-8-sig", "replace")
    except OSError as error:
        raise BuildError(
            f"{solution} cannot be read: {error.strerror}.", remedy="Correct driver.project in winvm.toml."
        ) from error
    named = _PROJECT.findall(text.replace("\r\n", "\n"))[:PROJECT_LIMIT]
    found = {name: resolve(solution.parent, path) for name, path in named}
    found = {name: path for name, path in found.items() if path.is_file()}
    if not found:
        raise BuildError(
            f"{solution} names no C++ project that exists.",
            remedy="Name the driver's .vcxproj in driver.project of winvm.toml.",
        )
    return found

"""Builds every driver project below a folder and says which compile, link and pass the static check."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from harness.errors import WinvmError
from harness.toolchain.clang.compiler import compile_driver
from harness.toolchain.inspect import inspect_driver
from harness.toolchain.msbuild.vcxproj import is_driver_project, project_sources
from harness.toolchain.sign import TestCertificate, sign
from tests.compat.outcomes import FAILS

COMPILES = "compiles"


@dataclass(frozen=True)
class Outcome:
    """The outcome for one project.

    Attributes:
        project: its path below the folder.
        result: `compiles` or `fails`.
        reason: the first error, empty for one that compiles.
        notes: of the static check.
    """

    project: str
    result: str
    reason: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, object]:
        """For a record to compare with later."""
        return asdict(self)


def projects(folder: Path) -> Iterator[Path]:
    """Every .vcxproj below the folder that builds a kernel-mode driver, sorted; not the unreadable ones."""
    for path in sorted(folder.rglob("*.[vV][cC][xX]proj")):
        try:
            if is_driver_project(path, "release"):
                yield path
        except WinvmError:
            continue


def survey(folder: Path, output: Path) -> Iterator[Outcome]:
    """Builds each project in turn; object files go to a folder of their own below `output`."""
    certificate = TestCertificate.ensure(output / "certificate")
    for path in projects(folder):
        yield build(path, str(path.relative_to(folder)), output, certificate)


def build(path: Path, name: str, output: Path, certificate: TestCertificate) -> Outcome:
    """Compiles, links, signs and inspects one project in its release configuration."""
    driver_name = re.sub(r"[^\w-]", "_", path.stem)
    try:
        sources = project_sources(path, driver_name, "release")
        place = output / re.sub(r"\W+", "_", name)
        driver = compile_driver(sources, driver_name, path.parent, place).driver
        sign(driver, certificate)
        return Outcome(name, COMPILES, notes=tuple(inspect_driver(driver)))
    except WinvmError as error:
        return Outcome(name, FAILS, reason=_first_error(error))


def _first_error(error: WinvmError) -> str:
    lines = [line for line in error.detail.splitlines() if "error:" in line]
    return re.sub(r"^.*?error: ", "", lines[0])[:160] if lines else error.message[:160]

"""Runs llvm-profdata and llvm-cov: profiles in, merged profile, lines and HTML out.

https://llvm.org/docs/CommandGuide/llvm-profdata.html and llvm-cov.html. Both are of the LLVM that compiled
the driver: formats differ between versions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, HostError
from harness.host import programs

PROFDATA, COV, DEMANGLER = "llvm-profdata-19", "llvm-cov-19", "llvm-cxxfilt-19"
LIMIT_S = 300.0
NOT_OWN = r"(^|/)(usr/(include|x86_64-w64-mingw32)|wdk|generated)/"
"""Files that are not the driver's: headers of the kits, and what the bench generates."""


@dataclass(frozen=True)
class Llvm:
    """The tools for one set of drivers.

    Attributes:
        objects: the instrumented drivers, whose mappings are read.
        root: the project's folder, where they run.
    """

    objects: tuple[Path, ...]
    root: Path

    def merge(self, profiles: Sequence[Path], output: Path) -> None:
        """Merges profiles, raw and merged ones; raises `HostError`."""
        listed = output.with_suffix(".list")
        listed.write_text("".join(f"{path}\n" for path in profiles), encoding="utf-8")
        try:
            _run([PROFDATA, "merge", "-sparse", f"-input-files={listed}", "-o", str(output)], self.root)
        finally:
            listed.unlink(missing_ok=True)

    def lcov(self, profile: Path) -> str:
        """Lines, functions and branches in lcov's format; raises `HostError`."""
        return _run([COV, "export", "-format=lcov", *self._of(profile)], self.root)

    def html(self, profile: Path, output: Path, title: str) -> None:
        """Writes pages with counts beside the source into `output`; raises `HostError`."""
        words = [COV, "show", "-format=html", f"-output-dir={output}", f"-project-title={title}"]
        _run([*words, "-show-branches=count", f"-Xdemangler={DEMANGLER}", *self._of(profile)], self.root)

    def _of(self, profile: Path) -> list[str]:
        first, *others = (str(path) for path in self.objects)
        words = [f"-instr-profile={profile}"]
        return [*words, f"-ignore-filename-regex={NOT_OWN}", first, *(f"-object={one}" for one in others)]


def _run(argv: Sequence[str], folder: Path) -> str:
    try:
        done = programs.run(argv, Deadline.after(LIMIT_S), folder=folder)
    except DeadlineError as error:
        raise HostError(f"{argv[0]} did not end within {LIMIT_S:g} s.") from error
    if done.code:
        raise HostError(
            f"{argv[0]} {argv[1]} ended with exit code {done.code}.",
            remedy="Install the packages of vm/host/packages.txt; llvm-19 must be that of clang-19.",
            detail=done.stderr.decode("utf-8", "replace")[-4000:],
        )
    return done.stdout.decode("utf-8", "replace")

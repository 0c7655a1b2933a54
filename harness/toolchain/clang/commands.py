"""The command that compiles one unit, and whether its object is up to date."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.host.resources import wdk_folder
from harness.toolchain.clang import flags
from harness.toolchain.clang.sources import Unit

ASSEMBLER = "llvm-ml-19"
RESOURCES = "llvm-rc-19"


@dataclass(frozen=True)
class Command:
    """How a unit is compiled.

    Attributes:
        unit: the file to compile.
        argv: run in `folder`.
        object: the object file that it makes.
        digest: hash of the command; if it changes, the object is out of date.
    """

    unit: Unit
    argv: tuple[str, ...]
    folder: Path
    object: Path

    @property
    def digest(self) -> str:
        """Hash of the whole command line."""
        return hashlib.sha256("\0".join(self.argv).encode()).hexdigest()

    @property
    def mark(self) -> Path:
        """A file written once the object is complete."""
        return self.object.with_suffix(".done")

    def is_current(self) -> bool:
        """Whether the object was made by this command from files that did not change since."""
        try:
            if self.mark.read_text() != self.digest or not self.object.is_file():
                return False
            made = self.mark.stat().st_mtime_ns
            return all(path.stat().st_mtime_ns < made for path in self.read())
        except OSError:
            return False

    def read(self) -> list[Path]:
        """The unit and every file it includes, as the compiler listed them."""
        if self.unit.language not in ("c", "c++"):
            folder = self.unit.path.parent
            return [self.unit.path, *folder.glob("*.h"), *folder.glob("*.inc"), *folder.glob("*.bin")]
        listed = self.object.with_suffix(".d").read_text(encoding="utf-8", errors="replace")
        joined = listed.replace("\\\n", " ").partition(": ")[2]
        names = re.findall(r"(?:\\ |[^\s])+", joined)
        return [self.folder / name.replace("\\ ", " ") for name in names]


def unit_command(
    unit: Unit,
    number: int,
    debug: bool,
    root: Path,
    objects: Path,
    generated: Path,
    headers: list[str],
    target_options: Sequence[str] = (*flags.TARGET, *flags.MICROSOFT),
    more: Sequence[str] = (),
) -> Command:
    """The command for one unit.

    Args:
        number: its place among the units; keeps the objects of two files of the same name apart.
        root: folder in which it runs, so that names in messages and debug information are relative.
        headers: options for the headers of the kit.
        target_options: what is compiled for, and how like Visual C++.
        more: further options for clang, before those of the unit.
    """
    stem = f"{number:03}-{unit.path.stem}"
    if unit.language == "rc":
        target = objects / f"{stem}.res"
        places = [unit.path.parent, *unit.includes, generated, flags.MINGW]
        argv = [RESOURCES, *(word for place in places for word in ("/I", str(place)))]
        argv += [word for define in unit.defines for word in ("/D", define)]
        return Command(unit, (*argv, "/FO", str(target), str(unit.path)), root, target)
    target = objects / f"{stem}.o"
    if unit.language == "asm":
        argv = [ASSEMBLER, "-m64", "/c", "/nologo", "/Zi", *(f"/I{place}" for place in unit.includes)]
        argv += [f"/D{define}" for define in unit.defines]
        return Command(unit, (*argv, f"/Fo{target}", str(unit.path)), root, target)
    standard = f"-std={unit.standard}" if unit.standard else ""
    argv = [
        flags.CLANG,
        *target_options,
        *(flags.CXX if unit.language == "c++" else flags.C),
        *([standard] if standard else []),
        *flags.KERNEL,
        *flags.DEBUG_INFORMATION,
        "-fdebug-compilation-dir=.",
        # The kit's headers and generated ones lie outside the project, in folders that differ by machine.
        f"-ffile-prefix-map={wdk_folder()}=wdk",
        f"-ffile-prefix-map={generated}=generated",
        f"-ffile-prefix-map={root}/=",
        *flags.optimisation(debug),
        *flags.TOLERATED,
        *(f"-D{define}" for define in flags.DEFINES),
        *flags.version_defines(unit.defines),
        *(f"-D{define}" for define in unit.defines),
        *(f"-U{name}" for name in unit.undefines),
        *(f"-I{_shown(folder, root)}" for folder in (unit.path.parent, *unit.includes)),
        f"-I{generated}",
        *headers,
        *(word for name in unit.forced for word in ("-include", name)),
        *more,
        *unit.options,
        *("-Xclang", f"-object-file-name={stem}.o"),
        *("-MMD", "-MF", str(target.with_suffix(".d"))),
        *("-x", unit.language, "-c", _shown(unit.path, root), "-o", str(target)),
    ]
    return Command(unit, tuple(argv), root, target)


def _shown(path: Path, root: Path) -> str:
    """The path, relative to the root if it lies below it."""
    return os.path.relpath(path, root) if path.is_relative_to(root) else str(path)

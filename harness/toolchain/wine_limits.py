"""What a correct driver uses that a Wine guest does otherwise: formats, idle routines, caught codes.

Nothing of this is a fault of the driver, so each is a note. Function and line come from the driver's PDB,
from the instructions that refer to the string or the import. docs/own-driver.md lists these limits, and
others that no image shows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pefile

from harness.dumps.summary import Frame
from harness.toolchain.references import DEBUG, code_positions, referring_code
from harness.toolchain.rules import RuleFinding

DO_NOTHING: Mapping[str, str] = {
    "IoCsqInitialize": "the queue's callbacks are never called",
    "IoCsqInitializeEx": "the queue's callbacks are never called",
    "KeSetPriorityThread": "the thread's priority stays",
    "ObRegisterCallbacks": "no callback is ever called",
    "PsSetCreateProcessNotifyRoutine": "the routine is never called",
    "PsSetCreateProcessNotifyRoutineEx": "the routine is never called",
}
"""Routines of Wine 10's ntoskrnl.exe that return success and do nothing, and what a driver misses."""
SEH_HANDLER = "__C_specific_handler"
_IMPORT = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]
_PRINTS = re.compile(r"DbgPrint|printf", re.IGNORECASE)
_FORMAT = re.compile(
    rb"[\x09\x0a\x0d\x20-\x7e]*%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?w?Z[\x09\x0a\x0d\x20-\x7e]*\x00"
)
_NAME = re.compile(r"%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?w?Z")
_CONVERSION = re.compile(
    r"(?<!%)(?:%%)*%[-+ #0]*[0-9*]*(?:\.[0-9*]+)?(?:hh|h|ll|l|w|z|j|t|I64|I32|I)?([a-zA-Z])"
)
_POINTERS = frozenset("sSnZ")
_CODE = re.compile(r"\bGetExceptionCode\s*\(\s*\)")
_FILTER = re.compile(r"\b__except\s*\(")
_COVERAGE = (b".lprf", b".lcov")
"""Sections that coverage adds, by the beginning of their names: they hold no texts."""
_EXECUTABLE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_EXECUTE"]
_SOURCES = {".c", ".cc", ".cpp", ".cxx"}
_MAX_DATA, _MAX_SOURCE = 16 << 20, 1 << 20
_MAX_FINDINGS, _MAX_FILES = 50, 2000
_NOT_SOURCES = {"build", "artifacts", "node_modules"}


def wine_limits(driver: Path, sources: Path | None = None) -> list[RuleFinding]:
    """The limits that a driver meets, at most `_MAX_FINDINGS`.

    Args:
        driver: a PE file that `inspect` has read; its PDB beside it gives the lines.
        sources: the folder of its sources, in which GetExceptionCode() is looked for.
    """
    with pefile.PE(str(driver), fast_load=True) as image:
        image.parse_data_directories([_IMPORT, DEBUG])
        imports = dict(_imports(image))
        texts: dict[int, RuleFinding] = {}
        if any(map(_PRINTS.search, imports.values())):
            texts = {at: _format(text) for at, text in _formats(image)}
        texts |= {
            slot: RuleFinding("wine-routine", f"{name} succeeds and does nothing on Wine: {DO_NOTHING[name]}")
            for slot, name in imports.items()
            if name in DO_NOTHING
        }
        found = _with_places(image, driver, texts) if texts else []
    if sources is not None and SEH_HANDLER in imports.values():
        found += _caught_codes(sources)
    return found[:_MAX_FINDINGS]


@dataclass(frozen=True)
class ShiftedPrint:
    """A print of the driver whose conversions after `%wZ` or `%Z` get another one's argument on Wine.

    code: RVA of what refers to the format, before the call. place: of that code; None without a PDB.
    dereferences: whether one of these conversions takes a pointer, so that the print may crash.
    """

    code: int
    place: Frame | None
    text: str
    dereferences: bool


def shifted_prints(driver: Path) -> list[ShiftedPrint]:
    """The prints of a driver, with their places if its PDB is beside it.

    Raises:
        OSError, pefile.PEFormatError: the file cannot be read as a PE file.
    """
    with pefile.PE(str(driver), fast_load=True) as image:
        image.parse_data_directories([_IMPORT, DEBUG])
        texts = {at: text.decode("ascii") for at, text in _formats(image)}
        after = {at: _CONVERSION.findall(_NAME.split(text, maxsplit=1)[1]) for at, text in texts.items()}
        shifted = {at: kinds for at, kinds in after.items() if kinds}
        references = referring_code(image, frozenset(shifted)) if shifted else {}
        frames = code_positions(
            image, driver, sorted({at for places in references.values() for at in places})
        )
        return [
            ShiftedPrint(
                code,
                frames[code][0] if frames.get(code) else None,
                texts[at],
                any(kind in _POINTERS for kind in shifted[at]),
            )
            for at, places in references.items()
            for code in places
        ][:_MAX_FINDINGS]


def _imports(image: pefile.PE) -> Iterator[tuple[int, str]]:
    """(RVA of the import's slot, name of the routine)."""
    base = image.OPTIONAL_HEADER.ImageBase
    for entry in getattr(image, "DIRECTORY_ENTRY_IMPORT", []):
        for routine in entry.imports:
            if routine.name and routine.address:
                yield routine.address - base, routine.name.decode("ascii", "replace")


def _formats(image: pefile.PE) -> Iterator[tuple[int, bytes]]:
    """(RVA, text) of every string that holds %wZ or %Z; instructions hold none, and may look like one."""
    for section in image.sections:
        if section.Characteristics & _EXECUTABLE or section.Name.startswith(_COVERAGE):
            continue
        data = section.get_data()[:_MAX_DATA]
        for found in _FORMAT.finditer(data):
            yield section.VirtualAddress + found.start(), found[0][:-1]


def _format(text: bytes) -> RuleFinding:
    shown = text.decode("ascii").encode("unicode_escape").decode("ascii")[:120]
    return RuleFinding(
        "wine-format",
        f'"{shown}": DbgPrint of Wine does not render %wZ and %Z and takes no argument for them, so what '
        "follows gets the wrong one; print Length / 2 and Buffer by %.*ws",
    )


def _with_places(image: pefile.PE, driver: Path, found: Mapping[int, RuleFinding]) -> list[RuleFinding]:
    """The findings, each with the functions and lines that refer to its RVA."""
    references = referring_code(image, frozenset(found))
    code = sorted({at for places in references.values() for at in places})
    frames = code_positions(image, driver, code)
    return [
        RuleFinding(finding.rule, f"{_places(references.get(at, ()), frames)}{finding.text}")
        for at, finding in found.items()
    ]


def _places(code: Iterable[int], frames: Mapping[int, tuple[Frame, ...]]) -> str:
    named = [frames[at][0] for at in code if frames.get(at)]
    shown = dict.fromkeys(f"{Path(one.file).name}:{one.line} in {one.function}" for one in named if one.file)
    return f"{', '.join(list(shown)[:3])}: " if shown else ""


def _caught_codes(folder: Path) -> list[RuleFinding]:
    """Lines with GetExceptionCode() outside a filter expression."""
    found = []
    for file in islice(_source_files(folder), _MAX_FILES):
        with file.open("rb") as stream:
            text = _without_filters(stream.read(_MAX_SOURCE).decode("utf-8", "replace"))
        for line, content in enumerate(text.splitlines(), start=1):
            if _CODE.search(content):
                found.append(
                    RuleFinding(
                        "wine-exception-code",
                        f"{file.relative_to(folder)}:{line}: GetExceptionCode() in an __except block is 0 "
                        "on Wine; take the code in the filter expression",
                    )
                )
    return found


def _without_filters(text: str) -> str:
    """The text with every filter expression left out; its lines keep their numbers."""
    kept, at = [], 0
    for found in _FILTER.finditer(text):
        if found.start() < at:
            continue
        kept.append(text[at : found.start()])
        depth, at = 1, found.end()
        while depth and at < len(text):
            depth += {"(": 1, ")": -1}.get(text[at], 0)
            at += 1
        kept.append("\n" * text.count("\n", found.start(), at))
    return "".join([*kept, text[at:]])


def _source_files(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _NOT_SOURCES)
        for name in sorted(files):
            file = Path(where, name)
            if file.suffix.lower() in _SOURCES and file.is_file() and not file.is_symlink():
                yield file

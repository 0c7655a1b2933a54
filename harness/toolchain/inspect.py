"""Static checks of a built driver: what a Windows kernel would refuse, found before anything boots.

All violations are reported at once. What only Wine lacks is no violation: the driver is right and Wine is
short of a routine, so those imports are returned as notes for the report.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pefile

from harness.errors import BuildError, HostError, ImageError

KERNEL_MODULES = ("ntoskrnl.exe", "hal.dll")
IMPORT_LIBRARIES = Path("/usr/x86_64-w64-mingw32/lib")

_SECURITY = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_SECURITY"]
_IMPORT = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]
_X64 = pefile.MACHINE_TYPE["IMAGE_FILE_MACHINE_AMD64"]
_PE32_PLUS = pefile.OPTIONAL_HEADER_MAGIC_PE_PLUS
_NATIVE = pefile.SUBSYSTEM_TYPE["IMAGE_SUBSYSTEM_NATIVE"]
_DISCARDABLE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_DISCARDABLE"]
_EXECUTE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_EXECUTE"]


def inspect_driver(
    driver: Path,
    exports: Path | None = None,
    libraries: Path = IMPORT_LIBRARIES,
    *,
    prebuilt: bool = False,
) -> list[str]:
    """Checks a signed driver and returns notes about imports that the guest's Wine does not implement.

    Args:
        prebuilt: nobody here can change it: what a Windows kernel might yet take becomes a note.
        driver: the `.sys` file.
        exports: an image's `exports.json`, `{"ntoskrnl.exe": {"implemented": [...], "stubs": [...]}, ...}`;
            None for a guest that is not Wine.
        libraries: folder with mingw-w64's libntoskrnl.a and libhal.a, the list of what Windows exports.

    Raises:
        BuildError: it is no PE file, or breaks any of the rules; `detail` has one line per violation.
        HostError: the import libraries cannot be read.
        ImageError: `exports` cannot be read.
    """
    try:
        image = pefile.PE(str(driver), fast_load=True)
        image.parse_data_directories([_IMPORT])
    except (OSError, pefile.PEFormatError) as error:
        raise BuildError(
            f"{driver} is not a PE file: {error}.", remedy="Check the driver's build."
        ) from error
    with image:
        imports = _imports(image)
        violations = [*_header_violations(image), *_signature_violations(image)]
        doubts = [*_import_violations(imports, libraries), *_section_violations(image)]
    if not prebuilt:
        violations, doubts = [*violations, *doubts], []
    if violations:
        raise BuildError(
            f"{driver} fails {len(violations)} static check{'s' * (len(violations) > 1)}.",
            remedy="Correct the driver or its linker options.",
            detail="\n".join(violations),
        )
    return doubts + (_wine_notes(imports, exports) if exports else [])


def is_signed(driver: Path) -> bool:
    """Whether a PE file carries a signature, whoever's; raises `BuildError` for a file that is none."""
    try:
        with pefile.PE(str(driver), fast_load=True) as image:
            return not [*_signature_violations(image)]
    except (OSError, pefile.PEFormatError) as error:
        raise BuildError(
            f"{driver} is not a PE file: {error}.", remedy="Check the driver's build."
        ) from error


def _imports(image: pefile.PE) -> list[tuple[str, str]]:
    """(module in lower case, routine) pairs; an import by ordinal is named `#ordinal`."""
    return [
        (entry.dll.decode("ascii", "replace").lower(), _import_name(routine))
        for entry in getattr(image, "DIRECTORY_ENTRY_IMPORT", [])
        for routine in entry.imports
    ]


def _import_name(routine: Any) -> str:
    name: bytes | None = routine.name
    return name.decode("ascii", "replace") if name else f"#{routine.ordinal}"


def _header_violations(image: pefile.PE) -> Iterator[str]:
    if image.FILE_HEADER.Machine != _X64 or image.OPTIONAL_HEADER.Magic != _PE32_PLUS:
        yield f"machine is 0x{image.FILE_HEADER.Machine:04x}, not x64"
    if image.OPTIONAL_HEADER.Subsystem != _NATIVE:
        yield f"subsystem is {image.OPTIONAL_HEADER.Subsystem}, not native ({_NATIVE})"
    if not image.verify_checksum():
        yield (
            f"checksum 0x{image.OPTIONAL_HEADER.CheckSum:x} in the header is not that of the file, "
            f"0x{image.generate_checksum():x}"
        )


def _import_violations(imports: list[tuple[str, str]], libraries: Path) -> Iterator[str]:
    for module in sorted({module for module, _ in imports} - set(KERNEL_MODULES)):
        names = ", ".join(sorted(name for owner, name in imports if owner == module))
        yield f"imports from {module}, which is no kernel module: {names}"
    for module in KERNEL_MODULES:
        imported = {name for owner, name in imports if owner == module}
        if imported:
            known = _library_exports(libraries / f"lib{module.split('.')[0]}.a")
            for name in sorted(imported - known):
                yield f"imports {name}, which {module} of Windows does not export"


def _section_violations(image: pefile.PE) -> Iterator[str]:
    sections = {section.Name.rstrip(b"\0").decode("ascii", "replace"): section for section in image.sections}
    init = sections.get("INIT")
    if init is None:
        yield "no INIT section: initialisation code stays in memory for ever"
    elif not init.Characteristics & _DISCARDABLE:
        yield "section INIT is not discardable"
    page = sections.get("PAGE")
    if page is None or not page.Misc_VirtualSize or not page.Characteristics & _EXECUTE:
        yield "no code in a PAGE section: pageable routines are locked in memory"


def _signature_violations(image: pefile.PE) -> Iterator[str]:
    if not image.OPTIONAL_HEADER.DATA_DIRECTORY[_SECURITY].Size:
        yield "no Authenticode signature"


def _wine_notes(imports: list[tuple[str, str]], exports: Path) -> list[str]:
    try:
        modules = json.loads(exports.read_text(encoding="utf-8"))
        lists = {module: (set(of["implemented"]), set(of["stubs"])) for module, of in modules.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{exports} is not the list of Wine's exports: {error}.", remedy="Rebuild the guest image."
        ) from error
    notes = []
    for module, name in sorted(imports):
        implemented, stubs = lists.get(module, (set(), set()))
        if name in stubs:
            notes.append(f"{module}!{name} is not implemented by Wine: calling it ends the driver")
        elif name not in implemented:
            notes.append(f"{module}!{name} is unknown to Wine: calling it ends the driver")
    return notes


@functools.cache
def _library_exports(library: Path) -> frozenset[str]:
    """Names an import library provides: the `__imp_` symbols in the index of the `ar` archive.

    The index is the first member, named `/`: a big-endian count, that many offsets, then the names, each
    ended by a zero byte (the System V format, which GNU binutils writes).
    """
    try:
        archive = library.read_bytes()
    except OSError as error:
        raise HostError(
            f"The import library {library} cannot be read: {error.strerror}.",
            remedy="Install the package mingw-w64-x86-64-dev.",
        ) from error
    size = archive[56:66].strip()
    if not archive.startswith(b"!<arch>\n/ ") or not size.isdigit():
        raise HostError(f"{library} is not an import library.", remedy="Reinstall mingw-w64-x86-64-dev.")
    index = archive[68 : 68 + int(size)]
    count = int.from_bytes(index[:4], "big")
    symbols = index[4 + 4 * count :].split(b"\0")
    return frozenset(
        symbol.removeprefix(b"__imp_").decode("ascii", "replace")
        for symbol in symbols
        if symbol.startswith(b"__imp_")
    )

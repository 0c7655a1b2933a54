"""Static checks of a built driver: what a Windows kernel would refuse to load, found before anything boots.

All violations are reported at once. A note is about what Windows loads but may cause trouble, or about a
routine that only the guest's Wine lacks: the driver is correct then. `rules` has the severities.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pefile

from harness.display.terminal import printable
from harness.errors import BuildError, ConfigurationError, ImageError
from harness.toolchain.rules import RuleFinding, judge
from harness.toolchain.wdk.exports import exporters, kernel_modules
from harness.toolchain.wine_limits import wine_limits

KMDF_LOADER = "wdfldr.sys"
NO_KMDF = (
    "this guest has no KMDF: the driver imports from wdfldr.sys, the framework's loader. "
    "Run it on a Windows guest (--guest), or test its logic in a WDM build"
)

_SECURITY = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_SECURITY"]
_IMPORT = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"]
_X64 = pefile.MACHINE_TYPE["IMAGE_FILE_MACHINE_AMD64"]
_PE32_PLUS = pefile.OPTIONAL_HEADER_MAGIC_PE_PLUS
_NATIVE = pefile.SUBSYSTEM_TYPE["IMAGE_SUBSYSTEM_NATIVE"]
_DISCARDABLE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_DISCARDABLE"]
_EXECUTE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_EXECUTE"]
_WRITE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_WRITE"]
_PAGE_SIZE = 0x1000
_MAX_LAYOUT = 4
_USER_MODE = ("kernel32.dll", "kernelbase.dll", "user32.dll", "advapi32.dll", "ntdll.dll", "gdi32.dll")
_USER_MODE_PREFIXES = (
    "api-ms-win-crt-",
    "msvcr",
    "msvcp",
    "vcruntime",
    "ucrtbase",
    "libgcc",
    "libstdc++",
    "ws2_32",
)
_TOLERATED_OF_PREBUILT = frozenset({"user-mode-import", "unknown-export"})


def inspect_driver(
    driver: Path,
    exports: Path | None = None,
    *,
    prebuilt: bool = False,
    rules: Mapping[str, str] | None = None,
    sources: Path | None = None,
) -> list[str]:
    """Checks a signed driver and returns notes, the last of them about imports that the guest's Wine lacks.

    Args:
        prebuilt: it cannot be changed here: a violation that some Windows kernels accept becomes a note.
        driver: the `.sys` file.
        exports: an image's `exports.json`, `{"ntoskrnl.exe": {"implemented": [...], "stubs": [...]}, ...}`;
            None for a guest that is not Wine.
        rules: severities of winvm.toml.
        sources: the folder of the driver's sources, for the limits of Wine that only a source shows.

    Raises:
        BuildError: it is not a PE file, or breaks a refused rule; `detail` has one line per violation.
        ConfigurationError: `rules` names an unknown rule.
        HostError: the lists of what Windows exports are missing.
        ImageError: `exports` cannot be read.
    """
    with _opened(driver) as image:
        imports = _imports(image)
        findings = [
            *_header_findings(image),
            *islice(_layout_findings(image), _MAX_LAYOUT),
            *_entry_findings(image),
            *_signature_findings(image),
            *_import_findings(imports),
            *_section_findings(image),
        ]
    if exports:
        findings += wine_limits(driver, sources)
    refused, noted = judge(findings, rules or {}, _TOLERATED_OF_PREBUILT if prebuilt else frozenset())
    if refused:
        raise BuildError(
            f"{driver} fails {len(refused)} static check{'s' * (len(refused) > 1)}.",
            remedy="Correct the driver or its linker options.",
            detail="\n".join(refused),
        )
    return noted + (_wine_notes(imports, exports) if exports else [])


def is_signed(driver: Path) -> bool:
    """Whether a PE file carries any signature; raises `BuildError` if it is not a PE file."""
    with _opened(driver) as image:
        return not [*_signature_findings(image)]


def uses_kmdf(driver: Path) -> bool:
    """Whether a driver imports the loader of KMDF; raises `BuildError` if it is not a PE file."""
    with _opened(driver) as image:
        return any(module == KMDF_LOADER for module, _ in _imports(image))


def require_frameworks(drivers: Iterable[Path], exports: Path | None) -> None:
    """Refuses a KMDF driver for a guest whose Wine has no KMDF.

    Args:
        exports: as `inspect_driver` takes it.

    Raises:
        ConfigurationError: a driver needs KMDF, and the guest is Wine, which has none.
    """
    for driver in drivers if exports else ():
        if uses_kmdf(driver):
            raise ConfigurationError(
                f"{driver.name} is a KMDF driver, and this guest has no KMDF (wdfldr.sys).",
                remedy="Run it on a Windows guest: winvm run --guest PROFILE, with a Windows profile.",
            )


def _opened(driver: Path) -> pefile.PE:
    try:
        image = pefile.PE(str(driver), fast_load=True)
        image.parse_data_directories([_IMPORT])
    except (OSError, pefile.PEFormatError) as error:
        raise BuildError(
            f"{driver} is not a PE file: {error}.", remedy="Check the driver's build."
        ) from error
    directories = len(image.OPTIONAL_HEADER.DATA_DIRECTORY)
    if directories <= _SECURITY:
        raise BuildError(
            f"{driver} has {directories} data directories in its header; the fifth is the signature's place.",
            remedy="Link the driver with all 16, as every linker for Windows does by default.",
        )
    return image


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


def _header_findings(image: pefile.PE) -> Iterator[RuleFinding]:
    if image.FILE_HEADER.Machine != _X64 or image.OPTIONAL_HEADER.Magic != _PE32_PLUS:
        yield RuleFinding("machine", f"machine is 0x{image.FILE_HEADER.Machine:04x}, not x64")
    if image.OPTIONAL_HEADER.Subsystem != _NATIVE:
        yield RuleFinding(
            "subsystem", f"subsystem is {image.OPTIONAL_HEADER.Subsystem}, not native ({_NATIVE})"
        )
    if not image.verify_checksum():
        yield RuleFinding(
            "checksum",
            f"checksum 0x{image.OPTIONAL_HEADER.CheckSum:x} in the header is not that of the file, "
            f"0x{image.generate_checksum():x}",
        )


def _layout_findings(image: pefile.PE) -> Iterator[RuleFinding]:
    """What the header says and the file does not have: it was cut short, or the header is damaged."""
    header, size = image.OPTIONAL_HEADER, len(image.__data__)
    if not header.SectionAlignment or not header.FileAlignment:
        yield RuleFinding("layout", "the header's alignment of sections is 0")
    if image.FILE_HEADER.NumberOfSections != len(image.sections):
        counted = image.FILE_HEADER.NumberOfSections
        yield RuleFinding(
            "layout", f"the header counts {counted} sections; the file has {len(image.sections)}"
        )
    imports = header.DATA_DIRECTORY[_IMPORT].VirtualAddress
    if imports >= header.SizeOfImage:
        yield RuleFinding("layout", f"the imports are at 0x{imports:x}, behind the image's end")
    for section in image.sections:
        if (end := section.PointerToRawData + section.SizeOfRawData) > size:
            name = printable(section.Name.rstrip(b"\0").decode("ascii", "replace"))
            yield RuleFinding(
                "layout", f"section {name} ends at byte {end} of a file that has {size}: it was cut short"
            )


def _import_findings(imports: list[tuple[str, str]]) -> Iterator[RuleFinding]:
    for module in sorted({module for module, _ in imports}):
        imported = sorted(name for owner, name in imports if owner == module)
        known = kernel_modules().get(module)
        if known:
            yield from (_unknown(module, name) for name in imported if name not in known.names)
        elif module in _USER_MODE or module.startswith(_USER_MODE_PREFIXES):
            yield RuleFinding(
                "user-mode-import", f"imports from {module}, not a kernel module: {', '.join(imported)}"
            )
        else:
            yield RuleFinding(
                "unknown-module",
                f"imports from {module}, whose exports are not known here; it must be loaded before: "
                f"{', '.join(imported)}",
            )


def _unknown(module: str, name: str) -> RuleFinding:
    others = [other for other in exporters(name) if other != module]
    hint = f"; {others[0]} does" if others else ""
    return RuleFinding("unknown-export", f"imports {name}, which {module} of Windows does not export{hint}")


def _section_findings(image: pefile.PE) -> Iterator[RuleFinding]:
    sections = {section.Name.rstrip(b"\0").decode("ascii", "replace"): section for section in image.sections}
    init = sections.get("INIT")
    if init is None:
        yield RuleFinding("no-init-section", "no INIT section: initialisation code stays in memory for ever")
    elif not init.Characteristics & _DISCARDABLE:
        yield RuleFinding("init-stays", "section INIT is not discardable")
    page = sections.get("PAGE")
    if page is None or not page.Misc_VirtualSize or not page.Characteristics & _EXECUTE:
        yield RuleFinding(
            "no-page-section", "no code in a PAGE section: pageable routines are locked in memory"
        )
    for name, section in sections.items():
        if section.Characteristics & _EXECUTE and section.Characteristics & _WRITE:
            yield RuleFinding(
                "writable-code",
                f"section {name} is writable and executable: memory integrity (HVCI) refuses it",
            )
    if image.OPTIONAL_HEADER.SectionAlignment % _PAGE_SIZE:
        yield RuleFinding(
            "unaligned-sections",
            f"sections are aligned to 0x{image.OPTIONAL_HEADER.SectionAlignment:x}, not to pages: "
            "memory integrity (HVCI) refuses it",
        )


def _entry_findings(image: pefile.PE) -> Iterator[RuleFinding]:
    entry = image.OPTIONAL_HEADER.AddressOfEntryPoint
    section = image.get_section_by_rva(entry)
    if section is None:
        yield RuleFinding("entry-not-executable", f"the entry point 0x{entry:x} is in no section")
    elif not section.Characteristics & _EXECUTE:
        name = section.Name.rstrip(b"\0").decode("ascii", "backslashreplace")
        yield RuleFinding(
            "entry-not-executable",
            f"the entry point is in section {name}, "
            f"whose attributes 0x{section.Characteristics:08x} do not allow execution",
        )


def _signature_findings(image: pefile.PE) -> Iterator[RuleFinding]:
    if not image.OPTIONAL_HEADER.DATA_DIRECTORY[_SECURITY].Size:
        yield RuleFinding("unsigned", "no Authenticode signature")


def _wine_notes(imports: list[tuple[str, str]], exports: Path) -> list[str]:
    try:
        modules = json.loads(exports.read_text(encoding="utf-8"))
        lists = {module: (set(of["implemented"]), set(of["stubs"])) for module, of in modules.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ImageError(
            f"{exports} is not the list of Wine's exports: {error}.", remedy="Rebuild the guest image."
        ) from error
    notes = []
    if any(module == KMDF_LOADER for module, _ in imports):
        notes.append(NO_KMDF)
    for module, name in sorted(imports):
        if module not in lists:
            continue  # an older image lists ntoskrnl.exe and hal.dll alone
        implemented, stubs = lists[module]
        if name in stubs:
            notes.append(f"{module}!{name} is not implemented by Wine: calling it ends the driver")
        elif name not in implemented:
            notes.append(f"{module}!{name} is unknown to Wine: calling it ends the driver")
    return notes

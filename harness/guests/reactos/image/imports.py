"""CPython's import tables: the modules they name, rewritten for the support libraries, and what is missing.

CPython's own files are trusted here: their publisher's signature was verified before they are rewritten.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pefile

from harness.errors import ImageError
from harness.guests.reactos.image.recipe import Library
from harness.guests.reactos.image.support import Exports

_SECURITY = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_SECURITY"]
_TABLES = [
    pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"],
    pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_DELAY_IMPORT"],
    pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_EXPORT"],
]


@dataclass(frozen=True)
class Import:
    """One import: `name` is empty for one by ordinal."""

    module: str
    name: str


def imports_of(path: Path) -> list[Import]:
    """What an executable imports; module names in lower case.

    Raises:
        ImageError: it is no executable.
    """
    with _opened(path) as image:
        return [
            Import(entry.dll.decode("ascii", "replace").lower(), (one.name or b"").decode("ascii", "replace"))
            for entry in _entries(image)
            for one in entry.imports
        ]


def exports_of(path: Path) -> frozenset[str]:
    """Names that an executable exports.

    Raises:
        ImageError: it is no executable.
    """
    with _opened(path) as image:
        table = getattr(image, "DIRECTORY_ENTRY_EXPORT", None)
        symbols = table.symbols if table else ()
        return frozenset(symbol.name.decode("ascii", "replace") for symbol in symbols if symbol.name)


def redirect(path: Path, libraries: Sequence[Library]) -> list[str]:
    """Puts the support libraries in place of the modules that they replace; returns the modules replaced.

    The signature is taken off: it is not valid any more.

    Raises:
        ImageError: it is no executable, or a library's name is longer than the one it replaces.
    """
    replaced = []
    with _opened(path) as image:
        for entry in _entries(image):
            module = entry.dll.decode("ascii", "replace")
            library = next((one for one in libraries if one.replaces(module)), None)
            if library is None:
                continue
            if len(library.name) > len(module):
                raise ImageError(
                    f"{library.name} does not fit in place of {module} in {path.name}.",
                    remedy="Give the library a shorter name in vm/reactos/python.toml.",
                )
            name = library.name.encode("ascii").ljust(len(module), b"\0")
            # The first field of a delayed import's descriptor is its attributes, the second its name.
            place = entry.struct.Name if hasattr(entry.struct, "Name") else entry.struct.szName
            image.set_bytes_at_rva(place, name)
            replaced.append(module)
        if not replaced:
            return []
        content = _unsigned(image)
    path.write_bytes(content)
    return replaced


def unmet(files: Iterable[Path], exports: Exports) -> dict[str, list[str]]:
    """Imports that nothing satisfies: `module!name` -> the files that need it.

    Args:
        exports: of every module that is there: the guest's, the support libraries and `files` themselves.
    """
    missing: dict[str, list[str]] = {}
    for path in files:
        for one in imports_of(path):
            found = exports.get(one.module)
            if found is None or (one.name and one.name not in found):
                missing.setdefault(f"{one.module}!{one.name or 'an ordinal'}", []).append(path.name)
    return missing


def exports_by_name(files: Iterable[Path]) -> Mapping[str, frozenset[str]]:
    """`exports_of` each file, by its name in lower case."""
    return {path.name.lower(): exports_of(path) for path in files}


class _opened:  # noqa: N801 - used as a function
    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> pefile.PE:
        try:
            self._image = pefile.PE(str(self._path), fast_load=True)
            self._image.parse_data_directories(_TABLES)
        except (OSError, pefile.PEFormatError) as error:
            raise ImageError(
                f"{self._path} is no Windows executable: {error}.",
                remedy="Use a complete image of the guest.",
            ) from error
        return self._image

    def __exit__(self, *exception: object) -> None:
        self._image.close()


def _entries(image: pefile.PE) -> list[pefile.ImportDescData]:
    tables = ("DIRECTORY_ENTRY_IMPORT", "DIRECTORY_ENTRY_DELAY_IMPORT")
    return [entry for table in tables for entry in getattr(image, table, ())]


def _unsigned(image: pefile.PE) -> bytes:
    """The file without its certificate table, which lies at its end, and with a new checksum."""
    security = image.OPTIONAL_HEADER.DATA_DIRECTORY[_SECURITY]
    end = security.VirtualAddress  # a file offset, in this directory alone
    security.VirtualAddress = security.Size = 0
    image.OPTIONAL_HEADER.CheckSum = 0
    content = bytearray(image.write())
    if end:
        del content[end:]
    place = image.OPTIONAL_HEADER.get_field_absolute_offset("CheckSum")
    struct.pack_into("<I", content, place, pefile.PE(data=bytes(content), fast_load=True).generate_checksum())
    return bytes(content)

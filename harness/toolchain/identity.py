"""A digest that is equal for two driver files of the same sources, however they were signed."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

import pefile

_SECURITY = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_SECURITY"]
_DEBUG = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_DEBUG"]
_DEBUG_ENTRY = struct.Struct("<IIHHIIII")
MAX_DEBUG_ENTRIES = 64


def code_digest(driver: Path) -> str:
    """SHA-256 (hex) of a driver's code and data, of the whole file if it is no PE file.

    Left out are checksum, signature, build times, and the debug directory with its records, which name the
    PDB. Two builds of the same sources have the same digest, even if the linker wrote build times or the file
    was signed again. A change of sources, compiler or options changes it, if it changes code or data.
    """
    content = bytearray(driver.read_bytes())
    try:
        image = pefile.PE(data=bytes(content), fast_load=True)
    except pefile.PEFormatError:
        return hashlib.sha256(content).hexdigest()
    with image:
        for start, end in _varying(image, content):
            content[start:end] = bytes(max(0, min(end, len(content)) - start))
        certificates = _directory(image, _SECURITY)
    # The certificate table's address is an offset in the file; signing appends it.
    end = certificates[0] if certificates and 0 < certificates[0] <= len(content) else len(content)
    return hashlib.sha256(bytes(content[:end]).rstrip(b"\0")).hexdigest()


def _varying(image: pefile.PE, content: bytes | bytearray) -> list[tuple[int, int]]:
    """Ranges (start, end) of the file that a new build of the same sources, or a signature, changes."""
    header = image.FILE_HEADER.get_field_absolute_offset("TimeDateStamp")
    checksum = image.OPTIONAL_HEADER.get_field_absolute_offset("CheckSum")
    ranges = [(header, header + 4), (checksum, checksum + 4)]
    directories = image.OPTIONAL_HEADER.DATA_DIRECTORY
    if len(directories) > _SECURITY:
        place = directories[_SECURITY].get_file_offset()
        ranges.append((place, place + 8))
    debug = _directory(image, _DEBUG)
    if debug is not None:
        try:
            start = image.get_offset_from_rva(debug[0])
        except pefile.PEFormatError:
            return ranges
        size = min(debug[1], MAX_DEBUG_ENTRIES * _DEBUG_ENTRY.size)
        for place in range(start, start + size, _DEBUG_ENTRY.size):
            if place + _DEBUG_ENTRY.size <= len(content):
                *_, length, _, offset = _DEBUG_ENTRY.unpack_from(content, place)
                ranges.append((offset, min(offset + length, len(content))))
        ranges.append((start, min(start + size, len(content))))
    return [(start, end) for start, end in ranges if 0 <= start < end]


def _directory(image: pefile.PE, number: int) -> tuple[int, int] | None:
    directories = image.OPTIONAL_HEADER.DATA_DIRECTORY
    if len(directories) <= number or not directories[number].Size:
        return None
    return directories[number].VirtualAddress, directories[number].Size

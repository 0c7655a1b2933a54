"""Finds the routine that took a request, or a stop: DriverEntry stores its address in the DRIVER_OBJECT.

https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/ns-wdm-_driver_object: on x64 MajorFunction is at
0x70, one pointer for each major function, and DriverUnload before it.
"""

from __future__ import annotations

import struct
from pathlib import Path

import pefile

from harness.crash.held import MAJOR
from harness.dumps.summary import Place
from harness.toolchain.references import DEBUG, EXECUTE, code_positions

SOURCE = "dispatch routine"
"""`Summary.fault_source` of a place found here."""
_UNLOAD = 0x68
_TABLE = 0x70
_SPAN = 96
"""Most bytes between the instruction that takes a routine's address and the one that stores it."""
_MAX_CODE = 4 << 20
_MAX_BYTES = 64 << 20


def dispatch_routine(driver: Path, operation: str) -> Place | None:
    """The entry of the routine for an operation of the journal; None unless just one is stored for it.

    Args:
        driver: the image, with its PDB beside it.
        operation: as `DeviceIoControl \\\\.\\Echo code=0x222000 ...`.
    """
    words = operation.split()
    major = MAJOR.get(words[0] if words else "")
    return None if major is None else _routine(driver, _TABLE + 8 * major)


def unload_routine(driver: Path) -> Place | None:
    """The entry of DriverUnload; None unless just one is stored."""
    return _routine(driver, _UNLOAD)


def _routine(driver: Path, offset: int) -> Place | None:
    """The entry of the routine whose address is stored at an offset of the DRIVER_OBJECT."""
    try:
        if driver.stat().st_size > _MAX_BYTES:
            return None
        with pefile.PE(str(driver), fast_load=True) as image:
            image.parse_data_directories([DEBUG])
            stored = {at for section in image.sections for at in _stored(section, offset)}
            frames = code_positions(image, driver, sorted(stored))
    except (OSError, pefile.PEFormatError):
        return None
    if len(stored) != 1:
        return None
    (at,) = stored
    return Place(at, driver.name, at, frames.get(at, ())) if frames.get(at) else None


def _stored(section: pefile.SectionStructure, offset: int) -> set[int]:
    """RVAs of the code whose address a section's instructions store at [register + offset].

    Read are `mov [register+disp], source` and the nearest `lea source, [rip+disp32]` before it.
    """
    if not section.Characteristics & EXECUTE:
        return set()
    code = section.get_data()[:_MAX_CODE]
    short = offset < 0x80
    displacement = bytes([offset]) if short else struct.pack("<I", offset)
    found, at = set(), code.find(displacement)
    while at >= 3:
        rex, opcode, modrm = code[at - 3 : at]
        if rex & 0xF8 == 0x48 and opcode == 0x89 and modrm >> 6 == (1 if short else 2) and modrm & 7 != 4:
            source = modrm >> 3 & 7 | (rex & 4) << 1
            take = bytes([0x48 | (source & 8) >> 1, 0x8D, (source & 7) << 3 | 5])
            begin = code.rfind(take, max(0, at - _SPAN), at)
            if begin >= 0 and begin + 7 <= at:
                (relative,) = struct.unpack_from("<i", code, begin + 3)
                found.add(section.VirtualAddress + begin + 7 + relative)
        at = code.find(displacement, at + 1)
    return found

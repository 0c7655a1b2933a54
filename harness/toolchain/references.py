"""The instructions of a driver that refer to a string, a variable or an import, with function and line."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pefile

from harness.dumps.pdb import codeview_identity
from harness.dumps.summary import Frame
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import positions
from harness.errors import HostError

DEBUG = pefile.DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_DEBUG"]
EXECUTE = pefile.SECTION_CHARACTERISTICS["IMAGE_SCN_MEM_EXECUTE"]
_MAX_CODE, _MAX_RECORD = 4 << 20, 4096


def referring_code(image: pefile.PE, wanted: frozenset[int]) -> dict[int, list[int]]:
    """RVAs of 32-bit displacements relative to the next instruction (RIP) that lead to a wanted RVA."""
    found: dict[int, list[int]] = {}
    for section in image.sections:
        if not section.Characteristics & EXECUTE:
            continue
        data = section.get_data()[:_MAX_CODE]
        for shift in range(4):
            usable = (len(data) - shift) // 4 * 4
            for index, (displacement,) in enumerate(struct.iter_unpack("<i", data[shift : shift + usable])):
                at = section.VirtualAddress + shift + 4 * index
                target = at + 4 + displacement
                if target in wanted:
                    found.setdefault(target, []).append(at)
    return found


def code_positions(image: pefile.PE, driver: Path, code: list[int]) -> Mapping[int, tuple[Frame, ...]]:
    """RVA of code -> source positions, innermost first, by the PDB beside the driver; empty without one.

    Args:
        image: the driver, its debug directory (`DEBUG`) parsed.
    """
    records = (_record(image, entry.struct) for entry in getattr(image, "DIRECTORY_ENTRY_DEBUG", []))
    identity = next(filter(None, map(codeview_identity, records)), None)
    if identity is None or not code:
        return {}
    pdb = SymbolPath("", folders=[driver.parent]).pdb(identity)
    if pdb is None:
        return {}
    try:
        found = positions({driver.name: (pdb, identity)}, {driver.name: {at: at for at in code}}, [])
    except HostError:  # no symboliser: there are no lines
        return {}
    return {at: frames for (_, at), frames in found.items()}


def _record(image: pefile.PE, entry: Any) -> bytes:
    data: bytes = image.get_data(entry.AddressOfRawData, min(entry.SizeOfData, _MAX_RECORD))
    return data

"""The place of an exception that left no dump: from the address reported, and from where the driver was."""

from __future__ import annotations

import re
from pathlib import Path

from harness.dumps.dumpfile import DumpFile
from harness.dumps.image import Image
from harness.dumps.pe_file import image_memory
from harness.dumps.summary import NoMemory, Place, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import positions
from harness.errors import DumpError
from harness.outcome import KernelCrash

SOURCE = "reported address"
"""Fault source of such a place."""
_LOADED = re.compile(r"(?:.*[\\/])?(?P<name>[^\\/]+) at 0x(?P<base>[0-9a-f]{1,16})")
_MAX_IMAGE = 1 << 30


def reported_summary(crash: KernelCrash, image: Path) -> Summary | None:
    """A summary of type `none` that holds the place alone; None where `reported_place` finds none."""
    place = reported_place(crash, image)
    if place is None:
        return None
    return Summary("none", "x64", {}, None, None, {}, place, SOURCE, (), (), (), False, ())


def reported_place(crash: KernelCrash, image: Path) -> Place | None:
    """The place in the driver, with function and line where its PDB is beside it; None if it is elsewhere.

    Args:
        crash: its notes name the images that were loaded, with their base addresses.
        image: the `.sys` that was loaded.

    Raises:
        HostError: llvm-symbolizer is missing.
    """
    if crash.kind != "exception" or len(crash.parameters) < 2:
        return None
    bases = [
        int(found["base"], 16)
        for found in map(_LOADED.fullmatch, crash.notes)
        if found and found["name"].lower() == image.name.lower()
    ]
    offset = crash.parameters[1] - bases[-1] if bases else -1
    if not 0 <= offset < _MAX_IMAGE:
        return None
    try:
        loaded = Image(NoMemory(), 0, image_memory(DumpFile(image)))
    except DumpError:
        return None
    if not any(start <= offset < end for start, end in loaded.sections):
        return None
    place = Place(crash.parameters[1], image.name, offset)
    identity = loaded.pdb()
    pdb = SymbolPath("", folders=[image.parent]).pdb(identity) if identity else None
    if identity is None or pdb is None:
        return place
    found = positions({image.name: (pdb, identity)}, {image.name: {offset: offset}}, [])
    return Place(place.address, image.name, offset, found.get((image.name, offset), ()))

"""The place of a crash that left no dump: from the addresses reported, and from where the driver was."""

from __future__ import annotations

import re
from pathlib import Path

from harness.dumps.dumpfile import DumpFile
from harness.dumps.image import Image
from harness.dumps.pe_file import image_memory
from harness.dumps.summary import Found, NoMemory, Place, StackFrame, Summary
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.symbols import positions
from harness.errors import DumpError
from harness.outcome import KernelCrash

SOURCE = "reported address"
"""Fault source of such a place."""
_LOADED = re.compile(r"(?:.*[\\/])?(?P<name>[^\\/]+) at 0x(?P<base>[0-9a-f]{1,16})")
_MAX_IMAGE = 1 << 30


def reported_summary(crash: KernelCrash, image: Path) -> Summary | None:
    """A summary of type `none` that holds the reported places alone; None where none is in the driver.

    The stack is that of a bugcheck by the driver's guard. For an exception there is only its address.
    """
    places = reported_places(crash, image)
    if not places:
        return None
    stack = tuple(StackFrame(place, 0, 0, Found.REGISTERS) for place in places) if crash.stack else ()
    return Summary("none", "x64", {}, None, None, {}, places[0], SOURCE, (), (), stack, False, ())


def reported_place(crash: KernelCrash, image: Path) -> Place | None:
    """The innermost of `reported_places`; None without any."""
    return next(iter(reported_places(crash, image)), None)


def reported_places(crash: KernelCrash, image: Path) -> tuple[Place, ...]:
    """The places in the driver, with function and line where its PDB is beside it.

    Args:
        crash: its notes name the images that were loaded, with their base addresses.
        image: the `.sys` that was loaded.

    Raises:
        HostError: llvm-symbolizer is missing.
    """
    told = crash.parameters[1:2] if crash.kind == "exception" else crash.stack
    bases = [
        int(found["base"], 16)
        for found in map(_LOADED.fullmatch, crash.notes)
        if found and found["name"].lower() == image.name.lower()
    ]
    inside = [address for address in told if bases and 0 <= address - bases[-1] < _MAX_IMAGE]
    if not inside:
        return ()
    try:
        loaded = Image(NoMemory(), 0, image_memory(DumpFile(image)))
    except DumpError:
        return ()
    offsets = {
        address: address - bases[-1]
        for address in inside
        if any(start <= address - bases[-1] < end for start, end in loaded.sections)
    }
    identity = loaded.pdb()
    pdb = SymbolPath("", folders=[image.parent]).pdb(identity) if identity else None
    found = {}
    if identity is not None and pdb is not None and offsets:
        wanted = {offset: offset for offset in offsets.values()}
        found = positions({image.name: (pdb, identity)}, {image.name: wanted}, [])
    return tuple(
        Place(address, image.name, offset, found.get((image.name, offset), ()))
        for address, offset in offsets.items()
    )

"""Mutated PDBs and CodeView records: `python -m tests.fuzz.pdb --count 100000`.

Fuzzed is winvm's own reading: which PDB belongs to a module, and the image that stands in for one. The
symbolizer is a program of its own, and gets its limits where it is started.
"""

from __future__ import annotations

import contextlib
import random
import struct

from harness.dumps.pdb import PdbIdentity, codeview_identity, is_pdb_of, read_identity, stand_in
from harness.errors import DumpError
from tests.fuzz.campaign import Campaign, mutated, scratch_folder

GUID = bytes(range(16))
MSF = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
BLOCK = 512


def small_pdb() -> bytes:
    """An MSF file of seven blocks: superblock, two free maps, directory map, directory, info, DBI."""
    info = struct.pack("<III", 20000404, 1, 1) + GUID
    dbi = struct.pack("<iII", -1, 19990903, 1).ljust(64, b"\0")
    streams = [b"", info, b"", dbi]
    directory = struct.pack("<5I", 4, *map(len, streams)) + struct.pack("<II", 5, 6)
    blocks = [
        MSF + struct.pack("<6I", BLOCK, 1, 7, len(directory), 0, 3),
        b"\xff" * BLOCK,
        b"\xff" * BLOCK,
        struct.pack("<I", 4),
        directory,
        info,
        dbi,
    ]
    return b"".join(block.ljust(BLOCK, b"\0") for block in blocks)


PDB = small_pdb()
RECORD = b"RSDS" + GUID + struct.pack("<I", 1) + b"C:\\build\\driver.pdb\0"
IDENTITY = PdbIdentity("driver.pdb", GUID, 1)


class Check:
    """A PDB file, and the same bytes as a CodeView record."""

    def __init__(self) -> None:
        self._file = scratch_folder() / "driver.pdb"

    def __call__(self, data: bytes) -> None:
        """Reads both."""
        self._file.write_bytes(data)
        found = read_identity(self._file)
        assert is_pdb_of(self._file, IDENTITY) == (found is not None and found[0] == GUID and 1 in found[1:])
        identity = codeview_identity(data)
        if identity is not None:
            assert identity.name.isprintable()
            assert set(identity.name).isdisjoint("/\\")
            assert identity.key.isalnum()
        with contextlib.suppress(DumpError):
            stand_in(self._file, identity or IDENTITY, 0x8664)


def pdb(chance: random.Random) -> bytes:
    """A mutated PDB, or record."""
    return mutated(chance, PDB if chance.random() < 0.8 else RECORD, 1 << 16)


CAMPAIGN = Campaign(pdb, Check(), seconds=1.0, megabytes=96)

if __name__ == "__main__":
    CAMPAIGN.command_line(__doc__, 100_000)

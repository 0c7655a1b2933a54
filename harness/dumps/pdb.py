"""Identity that ties an image to its PDB, read from either, and a stand-in image that names a PDB.

Sources: the CodeView record RSDS of a PE debug directory; the PDB info and DBI streams (LLVM: The PDB File
Format).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from harness.dumps.dumpfile import DumpFile
from harness.dumps.record import record
from harness.errors import DumpError

if TYPE_CHECKING:
    from pathlib import Path

_INFO, _DBI = 1, 3
_MACHINE_X64 = 0x8664
_SECTION_AT, _HEADER_SIZE = 0x1000, 0x200


@record
class PdbIdentity:
    """A PDB's file name, GUID as its 16 bytes in files, and age."""

    name: str
    guid: bytes
    age: int

    @property
    def key(self) -> str:
        """The folder's name in a symbol store: the GUID's digits, then the age, in hex."""
        first, second, third = struct.unpack_from("<IHH", self.guid)
        return f"{first:08X}{second:04X}{third:04X}{self.guid[8:].hex().upper()}{self.age:X}"


def codeview_identity(record: bytes) -> PdbIdentity | None:
    """The identity in a CodeView record of type RSDS; None for any other record."""
    if len(record) < 25 or not record.startswith(b"RSDS"):
        return None
    path = record[24:].partition(b"\0")[0].decode("utf-8", "replace").replace("/", "\\")
    name = "".join(character for character in path.rpartition("\\")[2] if character.isprintable())
    return PdbIdentity(name, record[4:20], int.from_bytes(record[20:24], "little"))


def is_pdb_of(path: Path, identity: PdbIdentity) -> bool:
    """Whether the file is a PDB with the identity's GUID and age. Never raises, whatever the file holds."""
    found = read_identity(path)
    return found is not None and found[0] == identity.guid and identity.age in found[1:]


def read_identity(path: Path) -> tuple[bytes, int, int] | None:
    """GUID, the age that images repeat, and the info stream's age; None if it is not a complete PDB."""
    from harness.dumps.msf import DamagedPdbError

    try:
        with DumpFile(path) as file:
            return _identity(file)
    except (DumpError, DamagedPdbError, struct.error):
        return None


def _identity(file: DumpFile) -> tuple[bytes, int, int] | None:
    from harness.dumps.msf import Msf

    msf = Msf(file)
    info, dbi = msf.stream(_INFO, 28), msf.stream(_DBI, 12)
    if len(info) < 28:
        return None
    (age,) = struct.unpack_from("<I", info, 8)
    shared = struct.unpack_from("<I", dbi, 8)[0] if len(dbi) >= 12 else age
    return info[12:28], shared, age


def stand_in(pdb: Path, identity: PdbIdentity, machine: int) -> bytes:
    """A PE file without code that names `pdb` as its PDB, for a symboliser that needs an image.

    Args:
        machine: of the image that the file stands for; x64 if unknown.
    """
    record = b"RSDS" + identity.guid + struct.pack("<I", identity.age) + str(pdb.resolve()).encode() + b"\0"
    debug = struct.pack("<IIHHIIII", 0, 0, 0, 0, 2, len(record), _SECTION_AT + 28, _HEADER_SIZE + 28)
    body = debug + record
    image = bytearray(_HEADER_SIZE) + body + bytes(-len(body) % 0x200)
    image[:2] = b"MZ"
    struct.pack_into("<I", image, 0x3C, 0x40)
    image[0x40:0x44] = b"PE\0\0"
    struct.pack_into("<HHIIIHH", image, 0x44, machine or _MACHINE_X64, 1, 0, 0, 0, 0xF0, 0x2022)
    struct.pack_into("<H", image, 0x58, 0x20B)
    struct.pack_into("<QII", image, 0x58 + 24, 0x180000000, 0x1000, 0x200)
    struct.pack_into("<II", image, 0x58 + 56, _SECTION_AT + 0x1000, _HEADER_SIZE)
    struct.pack_into("<I", image, 0x58 + 108, 16)
    struct.pack_into("<II", image, 0x58 + 112 + 8 * 6, _SECTION_AT, 28)
    size = len(image) - _HEADER_SIZE
    struct.pack_into("<8sIIII", image, 0x58 + 0xF0, b".rdata", size, _SECTION_AT, size, _HEADER_SIZE)
    struct.pack_into("<I", image, 0x58 + 0xF0 + 36, 0x40000040)
    return bytes(image)

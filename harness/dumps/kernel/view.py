"""A crashed kernel to look into: its memory, its debugger data block, its symbols where the PDB is at hand.

Offsets without a PDB are those that Microsoft's driver kit declares for every x64 driver (wdm.h: IRP,
IO_STACK_LOCATION, DEVICE_OBJECT, DRIVER_OBJECT) or for every debugger (wdbgexts.h: KDDEBUGGER_DATA64).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from harness.dumps.facts import DOCUMENTED, FROM_PDB
from harness.dumps.names import clean

if TYPE_CHECKING:
    from harness.dumps.kernel.nt_pdb import NtPdb
    from harness.dumps.summary import VirtualMemory

_MAX_NAME = 512
DOCUMENTED_OFFSETS = {
    "_IRP": {
        **{"Type": 0, "Size": 2, "IoStatus": 0x30, "StackCount": 0x42, "CurrentLocation": 0x43},
        **{"Tail": 0x78, "CurrentStackLocation": 0xB8, "": 0xD0},
    },
    "_IO_STACK_LOCATION": {
        **{"MajorFunction": 0, "MinorFunction": 1, "IoControlCode": 0x18, "DeviceObject": 0x28},
        **{"CompletionRoutine": 0x38, "": 0x48},
    },
    "_DEVICE_OBJECT": {"Type": 0, "DriverObject": 8, "NextDevice": 0x10},
    "_DRIVER_OBJECT": {
        **{"Type": 0, "DeviceObject": 8, "DriverStart": 0x18, "DriverName": 0x38, "MajorFunction": 0x70},
        **{"": 0x150},
    },
    "_POOL_HEADER": {"PoolTag": 4, "": 0x10},
}
"""By structure; the entry without a name is the structure's size."""


class KernelView:
    """Reads of a crashed kernel. A read gives None, or less, where the dump holds no more; none raises.

    Args:
        block: KDDEBUGGER_DATA64; empty when it is not at hand.
        base: of the kernel's image, 0 if unknown.
        pdb: of that image.
    """

    def __init__(self, memory: VirtualMemory, block: bytes, base: int, pdb: NtPdb | None) -> None:
        self.memory = memory
        self.block = block
        self._base = base
        self.pdb = pdb
        self.needs: dict[str, None] = {}

    def offset(self, structure: str, member: str = "") -> int | None:
        """Of a member, or the size of the structure; from the PDB, else as documented."""
        if self.pdb is not None:
            found = self.pdb.member(structure, member) if member else self.pdb.size(structure)
            if found is not None:
                return found
        return DOCUMENTED_OFFSETS.get(structure, {}).get(member)

    def layout(self, structure: str) -> str:
        """The source of a structure's offsets."""
        return FROM_PDB if self.pdb is not None and self.pdb.members(structure) else DOCUMENTED

    def number(self, address: int, size: int = 8) -> int | None:
        """An unsigned number in memory."""
        data = self.memory.read(address & (1 << 64) - 1, size) if address else b""
        return int.from_bytes(data, "little") if len(data) == size else None

    def field(self, address: int, structure: str, member: str, size: int = 8) -> int | None:
        """A member's value."""
        offset = self.offset(structure, member)
        return None if offset is None else self.number(address + offset, size)

    def unicode_string(self, address: int) -> str:
        """A UNICODE_STRING's text; empty where it cannot be read."""
        data = self.memory.read(address, 16)
        if len(data) < 16:
            return ""
        length, buffer = struct.unpack("<H6xQ", data)
        return clean(self.memory.read(buffer, min(length, _MAX_NAME))) if buffer else ""

    def variable(self, name: str) -> int | None:
        """Address of one of the kernel's variables; it is noted as needing symbols without them."""
        found = self.pdb.variable(name) if self.pdb is not None else None
        if found is None or not self._base:
            return None
        return self._base + found

    def debugger_word(self, offset: int, size: int = 8) -> int:
        """A field of the debugger data block; 0 when it is not there."""
        return int.from_bytes(self.block[offset : offset + size], "little")

    def need(self, what: str) -> None:
        """Notes something that only the kernel's PDB would tell."""
        self.needs[what] = None

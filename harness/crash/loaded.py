"""The loaded drivers of a kernel dump with page tables: PsLoadedModuleList, read through virtual memory."""

from __future__ import annotations

import struct

from harness.crash.names import base_name, clean
from harness.crash.summary import Module, VirtualMemory

MAX_MODULES = 4096
_ENTRY_SIZE = 0xA0
_MAX_NAME = 2048  # bytes


def loaded_modules(memory: VirtualMemory, head: int, warnings: list[str]) -> list[Module]:
    """Follows the list of KLDR_DATA_TABLE_ENTRY from its head; a list that breaks off gives what it had."""
    if not head:
        return []
    found: list[Module] = []
    seen = {head}
    address = _pointer(memory, head)
    while address is not None and address not in seen:
        if len(found) == MAX_MODULES:
            warnings.append(
                f"The list of loaded drivers has more than {MAX_MODULES} entries; the rest is left out."
            )
            return found
        seen.add(address)
        data = memory.read(address, _ENTRY_SIZE)
        if len(data) < _ENTRY_SIZE:
            break
        found.append(_module(memory, data))
        (address,) = struct.unpack_from("<Q", data)
    if address != head:
        warnings.append(f"The list of loaded drivers breaks off after {len(found)} of them.")
    return found


def _module(memory: VirtualMemory, entry: bytes) -> Module:
    base, _, size = struct.unpack_from("<QQI", entry, 0x30)
    path = _string(memory, entry, 0x48)
    name = _string(memory, entry, 0x58) or base_name(path)
    (checksum,) = struct.unpack_from("<I", entry, 0x78)
    stamp = pe_timestamp(memory, base)
    if stamp is None:
        (stamp,) = struct.unpack_from("<I", entry, 0x9C)
    return Module(name, path or name, base, size, stamp, checksum)


def pe_timestamp(memory: VirtualMemory, base: int) -> int | None:
    """TimeDateStamp of the image at `base`; None when its header is not in the dump."""
    dos = memory.read(base, 0x40)
    if len(dos) < 0x40 or not dos.startswith(b"MZ"):
        return None
    (at,) = struct.unpack_from("<I", dos, 0x3C)
    header = memory.read(base + at, 12)
    if len(header) < 12 or not header.startswith(b"PE\0\0"):
        return None
    return int(struct.unpack_from("<I", header, 8)[0])


def _string(memory: VirtualMemory, entry: bytes, at: int) -> str:
    length, _, buffer = struct.unpack_from("<HHxxxxQ", entry, at)
    return clean(memory.read(buffer, min(length, _MAX_NAME)))


def _pointer(memory: VirtualMemory, address: int) -> int | None:
    data = memory.read(address, 8)
    return struct.unpack("<Q", data)[0] if len(data) == 8 else None

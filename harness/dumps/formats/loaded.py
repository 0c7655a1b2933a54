"""Drivers in a kernel dump with page tables, read through virtual memory.

The loaded drivers are in PsLoadedModuleList. The last ones unloaded are in the array MmUnloadedDrivers, 50
UNLOADED_DRIVERS: name, first and last address, time.
"""

from __future__ import annotations

import struct

from harness.dumps.names import base_name, clean
from harness.dumps.summary import Module, VirtualMemory

MAX_MODULES = 4096
_ENTRY_SIZE = 0xA0
_MAX_NAME = 2048  # bytes
_UNLOADED_AT = 0x220  # in KDDEBUGGER_DATA64, of the variable that holds the array's address
_UNLOADED_COUNT = 50
_UNLOADED_SIZE = 0x28


def loaded_modules(memory: VirtualMemory, head: int, warnings: list[str]) -> list[Module]:
    """Follows the list of KLDR_DATA_TABLE_ENTRY from its head, up to the first damaged entry."""
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
        warnings.append(f"The list of loaded drivers is damaged after entry {len(found)}.")
    return found


def unloaded_modules(memory: VirtualMemory, debugger_data: bytes) -> list[Module]:
    """Drivers that were unloaded before the crash, as far as the dump holds their list."""
    if not debugger_data:
        return []
    (variable,) = struct.unpack_from("<Q", debugger_data, _UNLOADED_AT)
    array = _pointer(memory, variable) if variable else None
    data = memory.read(array, _UNLOADED_COUNT * _UNLOADED_SIZE) if array else b""
    found = []
    for at in range(0, len(data) - _UNLOADED_SIZE + 1, _UNLOADED_SIZE):
        start, end = struct.unpack_from("<QQ", data, at + 0x10)
        name = _string(memory, data, at)
        if start and end > start:
            found.append(Module(base_name(name), name, start, end - start))
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

"""TRIAGE_DUMP64: the body of a kernel minidump ("small memory dump"). All its offsets are file offsets."""

from __future__ import annotations

import struct

from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import SIZE as HEADER
from harness.dumps.formats.kerneldump import KernelHeader
from harness.dumps.names import base_name, clean
from harness.dumps.savedmemory import Area, SavedMemory
from harness.dumps.summary import Module

MAX_DRIVERS = 4096
MAX_UNLOADED = 64
MAX_BLOCKS = 65536
MAX_NAME = 1024  # UTF-16 code units
_DRIVER_SIZE = 0x90
_UNLOADED_SIZE = 56
_COMPLETE = b"TRGD"
_UNNAMED = "unknown"
_MAX_AREA = 1 << 20
_SECONDARY = b"DumpBlob"
_MAX_BLOBS = 4096


class Triage:
    """The parts of a triage dump. A damaged part is left out and named in `warnings`."""

    def __init__(self, file: DumpFile, header: KernelHeader, warnings: list[str]) -> None:
        self._file = file
        self._warnings = warnings
        head = file.read(HEADER, 0x80)
        self.truncated = len(head) < 0x80
        fields = head.ljust(0x80, b"\0")
        if self.truncated:
            warnings.append("The file ends within the triage header: the drivers and the stack are missing.")
        elif not any(fields):
            warnings.append("The triage header is all zero: the dump was not written to its end.")
            self.truncated = True
        self._length, valid = struct.unpack_from("<II", fields, 0x4)
        self._unloaded_at, self.prcb_at = struct.unpack_from("<II", fields, 0x18)
        stack_at, stack_size, self._drivers_at, self._driver_count = struct.unpack_from("<4I", fields, 0x28)
        (self.top_of_stack,) = struct.unpack_from("<Q", fields, 0x48)
        page, page_at, page_size, kdbg_at, kdbg_size, blocks_at, block_count = struct.unpack_from(
            "<QIIIIII", fields, 0x60
        )
        if not self.truncated:
            self._check_end(valid)
        self.stack_size = min(stack_size, _MAX_AREA)
        others = [
            Area(self.top_of_stack, stack_at, self.stack_size),
            Area(header.debugger_data, kdbg_at, min(kdbg_size, _MAX_AREA)),
            Area(page, page_at, min(page_size, _MAX_AREA)),
        ]
        others = [area for area in others if area.address and area.offset]
        self.memory = SavedMemory(file, self._blocks(blocks_at, block_count), others)

    def _check_end(self, valid: int) -> None:
        if self._file.size < self._length:
            self.truncated = True
            self._warnings.append(
                f"The file is truncated: {self._file.size} of {self._length} bytes, "
                f"{self._file.size * 100 // self._length}% are usable."
            )
        elif self._file.read(valid, 4) != _COMPLETE:
            self.truncated = True
            self._warnings.append(
                "The mark at the end of the triage data is missing: the data was truncated or overflowed."
            )
        elif (end := secondary_end(self._file, self._length)) > self._file.size:
            self.truncated = True
            self._warnings.append(
                f"The file is truncated: {self._file.size} of at least {end} bytes. Only data that drivers "
                "added is missing; everything that is read here is present."
            )

    def _blocks(self, at: int, count: int) -> list[Area]:
        if not at:
            return []
        count = self._capped(count, MAX_BLOCKS, "data blocks")
        data = self._file.read(at, 16 * count)
        records = struct.iter_unpack("<QII", data[: len(data) // 16 * 16])
        return [Area(address, offset, size) for address, offset, size in records if size]

    def modules(self) -> list[Module]:
        """The loaded drivers in the dump's order: the kernel is the first."""
        if not self._drivers_at:
            return []
        found = []
        data = self._file.read(
            self._drivers_at, _DRIVER_SIZE * self._capped(self._driver_count, MAX_DRIVERS, "drivers")
        )
        for start in range(0, len(data) - _DRIVER_SIZE + 1, _DRIVER_SIZE):
            (name_at,) = struct.unpack_from("<I", data, start)
            base, _, size = struct.unpack_from("<QQI", data, start + 0x38)
            checksum, _, timestamp = struct.unpack_from("<III", data, start + 0x80)
            path = self._name(name_at) or _UNNAMED
            found.append(Module(base_name(path), path, base, size, timestamp, checksum))
        return found

    def unloaded(self) -> list[Module]:
        """Drivers that were unloaded before the crash; their names are cut at 12 characters."""
        if not self._unloaded_at:
            return []
        count = self._capped(self._file.u32(self._unloaded_at), MAX_UNLOADED, "unloaded drivers")
        data = self._file.read(self._unloaded_at + 8, _UNLOADED_SIZE * count)
        found = []
        for start in range(0, len(data) - _UNLOADED_SIZE + 1, _UNLOADED_SIZE):
            (length,) = struct.unpack_from("<H", data, start)
            name = clean(data[start + 16 : start + 16 + min(length, 24)])
            base, end = struct.unpack_from("<QQ", data, start + 40)
            if end > base:
                found.append(Module(name, name, base, end - base))
        return found

    def _name(self, at: int) -> str:
        length = self._file.u32(at) if at else 0
        return clean(self._file.read(at + 4, 2 * min(length, MAX_NAME)))

    def _capped(self, count: int, limit: int, what: str) -> int:
        if count > limit:
            self._warnings.append(f"The dump claims {count} {what}; {limit} are read.")
        return min(count, limit)


def end_of_triage(file: DumpFile) -> int:
    """File offset where the triage part ends, and data that drivers added begins."""
    return file.u32(HEADER + 4)


def broken_driver(file: DumpFile) -> str:
    """Name of the driver that Windows itself blames; empty in most dumps."""
    at = file.u32(HEADER + 0x40)
    return clean(file.read(at + 4, 2 * min(file.u32(at), MAX_NAME))) if at else ""


def secondary_end(file: DumpFile, at: int) -> int:
    """Expected end of the data that drivers added, which follows the triage part at `at`.

    It is past the end of a truncated file; without such data it is the end of the file.
    """
    if file.size <= at:
        return file.size
    head = file.read(at, 16)
    if not head.startswith(_SECONDARY[: len(head)]):
        return file.size
    if len(head) < 16:
        return at + 16
    at += int.from_bytes(head[8:12], "little")
    for _ in range(_MAX_BLOBS):
        if at >= file.size:
            return at
        blob = file.read(at, 32)
        if len(blob) < 32:
            return at + 32
        size, before, after = struct.unpack_from("<III", blob, 20)
        at += 32 + size + before + after
    return file.size

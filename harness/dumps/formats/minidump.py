"""User-mode minidump (MDMP), as Windows and Wine's winedbg write it (minidumpapiset.h).

Wine runs a driver in a user process, winedevice.exe, so a driver's crash on Wine leaves such a dump. Wine's
own stream 0xFFF0 lists Unix libraries and is not read.
"""

from __future__ import annotations

import datetime
import struct
from typing import Any

from harness.dumps import cpu
from harness.dumps.dumpfile import DumpFile
from harness.dumps.names import base_name, clean
from harness.dumps.pdb import codeview_identity
from harness.dumps.savedmemory import Area, SavedMemory
from harness.dumps.summary import ExceptionRecord, Module
from harness.errors import DumpError

SIGNATURE = b"MDMP"
_VERSION = 0xA793
_MAX_STREAMS = 1024
_MAX_MODULES = 4096
_MAX_RANGES = 65536
_MAX_NAME = 2048  # bytes
_MAX_CODEVIEW = 1024  # bytes
_MAX_THREADS, _MAX_UNLOADED = 1024, 1024
_MACHINES = {9: cpu.X64, 12: cpu.ARM64, 0: cpu.X86, 5: 0x1C4}
_OTHER_SYSTEMS = {
    **{0x8101: "macOS", 0x8102: "iOS", 0x8201: "Linux", 0x8202: "Solaris", 0x8203: "Android"},
    **{0x8204: "PlayStation 3", 0x8205: "NaCl", 0x8206: "Fuchsia"},
}
"""Platforms that Breakpad and Crashpad write into a minidump, beside those of Windows, which are below 4."""
_THREADS, _MODULES, _MEMORY, _EXCEPTION, _SYSTEM, _MEMORY64, _UNLOADED, _MISC = 3, 4, 5, 6, 7, 9, 14, 15


class Minidump:
    """The parts of a user minidump; a damaged part is left out and named in `warnings`.

    Raises:
        DumpError: the dump ends within its header, or is of another version.
    """

    def __init__(self, file: DumpFile, warnings: list[str]) -> None:
        self._file = file
        self._warnings = warnings
        self.truncated = False
        head = file.read(0, 0x20)
        if len(head) < 0x20:
            raise DumpError(
                f"{file.path} is truncated: {file.size} bytes.", remedy="Copy it from the guest again."
            )
        version, count, directory, _, self._time = struct.unpack_from("<5I", head, 4)
        if version & 0xFFFF != _VERSION:
            raise DumpError(f"{file.path} is a minidump of version {version:#x}, which is unknown.")
        self._streams = self._directory(directory, count)
        system = self._stream(_SYSTEM)[1].ljust(56, b"\0")
        self._architecture, self._processors = struct.unpack_from("<H4xB", system)
        self._build, platform = struct.unpack_from("<II", system, 16)
        if name := _OTHER_SYSTEMS.get(platform):
            warnings.append(
                f"The program ran on {name}, not on Windows: the exception's code is {name}'s own, and no "
                "meaning of Windows holds for it."
            )
        has_system = _SYSTEM in self._streams
        self.machine = _MACHINES.get(self._architecture, 0) if has_system else 0
        self.memory = SavedMemory(file, self._ranges(), [])
        self._exception = self._stream(_EXCEPTION)[1]

    def _directory(self, at: int, count: int) -> dict[int, tuple[int, int]]:
        if count > _MAX_STREAMS:
            self._warnings.append(f"The dump claims {count} streams; {_MAX_STREAMS} are read.")
            count = _MAX_STREAMS
        data = self._file.read(at, 12 * count)
        if len(data) < 12 * count or not count:
            self._cut("The file ends within the directory of streams.")
        found: dict[int, tuple[int, int]] = {}
        for kind, size, offset in struct.iter_unpack("<III", data[: len(data) // 12 * 12]):
            if kind and offset + size > self._file.size:
                self._cut(f"Stream {kind:#x} ends at {offset + size}, the file at {self._file.size}.")
            found.setdefault(kind, (offset, size))
        if self.truncated:
            whole = sum(bool(kind) and at + size <= self._file.size for kind, (at, size) in found.items())
            self._warnings.append(f"The file is truncated: {whole} of {count} streams are complete.")
        return found

    def _cut(self, what: str) -> None:
        self.truncated = True
        self._warnings.append(what)

    def _stream(self, kind: int, limit: int = 4096) -> tuple[int, bytes]:
        """Where a stream lies, and its first `limit` bytes."""
        offset, size = self._streams.get(kind, (0, 0))
        return offset, self._file.read(offset, min(size, limit))

    def stream(self, kind: int, limit: int) -> bytes:
        """A stream's content, as of a writer's own kind; empty without one, or with a longer one."""
        offset, size = self._streams.get(kind, (0, 0))
        return self._file.read(offset, size) if size <= limit else b""

    def _list(self, kind: int, size: int, limit: int) -> list[bytes]:
        """The records of a list stream; other writers pad the count to 8 bytes."""
        _, total = self._streams.get(kind, (0, 0))
        _, data = self._stream(kind, 8 + size * limit)
        if len(data) < 4:
            return []
        (count,) = struct.unpack_from("<I", data)
        if count > limit:
            self._warnings.append(f"The dump claims {count} entries in stream {kind:#x}; {limit} are read.")
        start = 8 if total == 8 + count * size else 4
        ends = range(start + size, min(len(data), start + size * count) + 1, size)
        return [data[end - size : end] for end in ends]

    def _ranges(self) -> list[Area]:
        found = []
        for record in (
            *(data[24:40] for data in self._list(_THREADS, 48, _MAX_RANGES)),
            *self._list(_MEMORY, 16, _MAX_RANGES),
        ):
            address, size, offset = struct.unpack("<QII", record)
            if offset:  # a full dump has its stacks in Memory64List, and 0 here
                found.append(Area(address, offset, size))
        _, data = self._stream(_MEMORY64, 16 + 16 * _MAX_RANGES)
        if len(data) >= 16:
            count, offset = struct.unpack_from("<QQ", data)
            body = data[16 : 16 + 16 * min(count, _MAX_RANGES)]
            for address, size in struct.iter_unpack("<QQ", body[: len(body) // 16 * 16]):
                found.append(Area(address, offset, size))
                offset += size
            if offset > self._file.size or count * 16 > len(data) - 16:
                self._cut(f"The memory in stream 0x9 ends behind the file's end, at {self._file.size}.")
        return [area for area in found if area.size]

    def system(self) -> dict[str, Any]:
        """The `system` part of the summary."""
        _, misc = self._stream(_MISC)
        flags, process = struct.unpack_from("<II", misc, 4) if len(misc) >= 12 else (0, 0)
        moment = datetime.datetime.fromtimestamp(self._time, datetime.UTC)
        return {
            "build": self._build or None,
            "processors": self._processors or None,
            "uptime_s": None,
            "time": moment.strftime("%Y-%m-%dT%H:%M:%SZ") if self._time else None,
            "process_id": process if flags & 1 else None,
            "thread_id": struct.unpack_from("<I", self._exception)[0] if len(self._exception) >= 4 else None,
            "wine": self._wine(),
        }

    def _wine(self) -> bool:
        """Wine's own block, which follows the system information."""
        offset, size = self._streams.get(_SYSTEM, (0, 0))
        return bool(size) and self._file.read(offset + 56, 4) == b"WINE"

    def exception(self) -> ExceptionRecord | None:
        """The exception that ended the process."""
        return cpu.exception_record(self._exception[8 : 8 + cpu.EXCEPTION_SIZE])

    def registers(self) -> dict[str, int]:
        """The registers at the exception, from its stream: the thread's registers were read later."""
        if len(self._exception) < 168:
            return {}
        size, offset = struct.unpack_from("<II", self._exception, 160)
        return cpu.registers(self._file.read(offset, min(size, 0x4D0)), self.machine)

    def threads(self) -> list[tuple[int, dict[str, int]]]:
        """Every thread's id and registers."""
        found = []
        for record in self._list(_THREADS, 48, _MAX_THREADS):
            size, offset = struct.unpack_from("<II", record, 40)
            registers = cpu.registers(self._file.read(offset, min(size, 0x4D0)), self.machine)
            found.append((struct.unpack_from("<I", record)[0], registers))
        return found

    def unloaded(self) -> list[Module]:
        """Modules that had been unloaded."""
        _, data = self._stream(_UNLOADED, 12 + 24 * _MAX_UNLOADED)
        if len(data) < 12:
            return []
        head, size, count = struct.unpack_from("<III", data)
        found = []
        if size >= 24:
            for at in range(head, min(len(data) - 23, head + size * min(count, _MAX_UNLOADED)), size):
                base, length, checksum, stamp, name_at = struct.unpack_from("<Q4I", data, at)
                path = self._string(name_at)
                found.append(Module(base_name(path), path, base, length, stamp, checksum))
        return [module for module in found if module.size]

    def _string(self, at: int) -> str:
        length = self._file.u32(at) if at else 0
        return clean(self._file.read(at + 4, min(length, _MAX_NAME)))

    def modules(self) -> list[Module]:
        """Windows modules of the process."""
        found = []
        for record in self._list(_MODULES, 108, _MAX_MODULES):
            base, size, checksum, stamp, name_at = struct.unpack_from("<Q4I", record)
            path = self._string(name_at)
            record_size, record_at = struct.unpack_from("<II", record, 76)
            pdb = codeview_identity(self._file.read(record_at, min(record_size, _MAX_CODEVIEW)))
            found.append(Module(base_name(path), path, base, size, stamp, checksum, pdb))
        return found

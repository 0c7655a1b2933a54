"""The container of a PDB, MSF 7.00: numbered streams in blocks (LLVM: The PDB File Format)."""

from __future__ import annotations

import struct

from harness.dumps.dumpfile import DumpFile

_MAGIC = b"Microsoft C/C++ MSF 7.00\r\n\x1aDS\0\0\0"
_BLOCK_SIZES = (512, 1024, 2048, 4096, 8192, 16384, 32768)
_MAX_DIRECTORY = 64 << 20
_MAX_STREAMS = 1 << 16
_ABSENT = 0xFFFFFFFF


class DamagedPdbError(Exception):
    """The file is no complete PDB."""


class Msf:
    """Streams of a PDB.

    Raises:
        DamagedPdbError: the file is no MSF, or ends within its directory.
    """

    def __init__(self, file: DumpFile) -> None:
        self._file = file
        head = file.read(0, 56)
        if len(head) < 56 or not head.startswith(_MAGIC):
            raise DamagedPdbError
        self._block, _, blocks, size, _, map_at = struct.unpack_from("<6I", head, 32)
        if self._block not in _BLOCK_SIZES or size > _MAX_DIRECTORY:
            raise DamagedPdbError
        if blocks * self._block > file.size + self._block:
            raise DamagedPdbError
        count = -(-size // self._block)
        pages = file.read(map_at * self._block, 4 * count)
        if len(pages) < 4 * count or size < 4:
            raise DamagedPdbError
        numbers = struct.unpack(f"<{count}I", pages)
        self._directory = b"".join(file.read(page * self._block, self._block) for page in numbers)[:size]
        (streams,) = struct.unpack_from("<I", self._directory)
        if streams > _MAX_STREAMS or 4 + 4 * streams > len(self._directory):
            raise DamagedPdbError
        self._sizes = struct.unpack_from(f"<{streams}I", self._directory, 4)

    def stream(self, number: int, limit: int) -> bytes:
        """Up to `limit` bytes of a stream; empty when there is none of that number."""
        if not 0 <= number < len(self._sizes) or self._sizes[number] == _ABSENT:
            return b""
        before = (-(-size // self._block) for size in self._sizes[:number] if size != _ABSENT)
        at = 4 + 4 * len(self._sizes) + 4 * sum(before)
        wanted = min(self._sizes[number], limit)
        count = min(-(-wanted // self._block), max(0, len(self._directory) - at) // 4)
        pages = struct.unpack_from(f"<{count}I", self._directory, at)
        return b"".join(self._file.read(page * self._block, self._block) for page in pages)[:wanted]

"""A loaded image as unwinding needs it: sections, function table, debug directory (PE format specification).

Bytes come from the crashed machine's memory and, where that does not hold them, from the image's file.
"""

from __future__ import annotations

import bisect
import struct

from harness.dumps.pdb import PdbIdentity, codeview_identity
from harness.dumps.summary import NoMemory, VirtualMemory

_SECTION, _EXECUTABLE = 40, 0x20000000
_MAX_SECTIONS = 96
_EXCEPTION_DIRECTORY, _DEBUG_DIRECTORY = 3, 6
_MAX_TABLE = 64 << 20
_CHUNK = 10
"""Entries of the function table in one read: some 128 bytes, which is cheap over a serial line too."""
_HEAD = 0x200
"""Bytes of most headers; they are read at once."""
_MAX_DEBUG_ENTRIES = 32
_CODEVIEW = 2
_MAX_CODEVIEW = 1024
_CACHED, _KNOWN = 4096, 4096


class UnreadableError(Exception):
    """Data that unwinding needs is neither in memory nor in a file, or is malformed."""


class _Header:
    """Of `sections` start, end and whether they hold code; of `directories` offset and size."""

    def __init__(self, machine: int = 0) -> None:
        self.machine = machine
        self.sections: list[tuple[int, int, bool]] = []
        self.directories: list[tuple[int, int]] = []


class Image:
    """The image at `base`; offsets are from there. Reads give what there is and never raise.

    Args:
        file: the image's file, for what memory does not hold.
        file_first: it is read before memory, which is far away.
    """

    def __init__(
        self,
        memory: VirtualMemory,
        base: int,
        file: VirtualMemory | None = None,
        *,
        file_first: bool = False,
    ) -> None:
        self._memory = memory
        self._base = base
        self._file = file or NoMemory()
        self._file_first = file_first and file is not None
        self._parsed: _Header | None = None
        self._chunks: dict[int, list[int]] = {}
        self._numbers: list[int] = []
        self._starts: list[int] = []
        self.cache: dict[int, object] = {}
        """Of the architecture's unwinder, by offset of the unwind information."""

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes."""
        if self._file_first and len(data := self._file.read(offset, size)) == size:
            return data
        data = self._memory.read(self._base + offset, size)
        if len(data) < size:
            other = self._file.read(offset, size)
            data = other if len(other) > len(data) else data
        return data

    def exactly(self, offset: int, size: int) -> bytes:
        """`size` bytes.

        Raises:
            UnreadableError: there are fewer.
        """
        data = self.read(offset, size)
        if len(data) < size:
            raise UnreadableError(f"{size} bytes at offset {offset:#x}")
        return data

    @property
    def machine(self) -> int:
        """The header's machine; 0 without a header."""
        return self._header().machine

    @property
    def sections(self) -> list[tuple[int, int]]:
        """(start, end) offsets of the executable sections; empty without a header."""
        return [(start, end) for start, end, executable in self._header().sections if executable]

    def _header(self) -> _Header:
        if self._parsed is None:
            try:
                self._parsed = self._parse()
            except UnreadableError:
                self._parsed = _Header()
        return self._parsed

    def _parse(self) -> _Header:
        dos = self.read(0, _HEAD)
        if len(dos) < 0x40:
            raise UnreadableError("no DOS header")
        at = struct.unpack_from("<I", dos, 0x3C)[0]
        if not dos.startswith(b"MZ"):
            raise UnreadableError("no DOS header")
        head = self.exactly(at, 24)
        if not head.startswith(b"PE\0\0"):
            raise UnreadableError("no PE header")
        machine, count, optional = struct.unpack_from("<HH12xH", head, 4)
        found = _Header(machine)
        size = _SECTION * min(count, _MAX_SECTIONS)
        table = self.read(at + 24 + optional, size)
        if len(table) == size:
            for start in range(0, size, _SECTION):
                length, address, stored = struct.unpack_from("<III", table, start + 8)
                (flags,) = struct.unpack_from("<I", table, start + 36)
                found.sections.append((address, address + (length or stored), bool(flags & _EXECUTABLE)))
        directories = self.read(at + 24 + 112, 8 * 7)
        if len(directories) == 8 * 7 and optional >= 112 + 8 * 7 and self.read(at + 24, 2) == b"\x0b\x02":
            found.directories = list(struct.iter_unpack("<II", directories))
        return found

    def directory(self, number: int) -> tuple[int, int]:
        """Offset and size of a data directory.

        Raises:
            UnreadableError: the header is missing.
        """
        directories = self._header().directories
        if number >= len(directories):
            raise UnreadableError("no directories")
        return directories[number]

    def function(self, offset: int, entry_words: int) -> tuple[int, ...] | None:
        """The entry of the function table with the greatest start that is not behind `offset`.

        Args:
            entry_words: 32-bit words of an entry, 3 on x64 and 2 on ARM64.

        Raises:
            UnreadableError: the table, or the part that is needed, is missing.
        """
        at, size = self.directory(_EXCEPTION_DIRECTORY)
        count = min(size, _MAX_TABLE) // (4 * entry_words)
        if not at or not count:
            raise UnreadableError("no function table")
        low, high = 0, (count - 1) // _CHUNK  # the chunk sought is low or above, and high or below
        first = self._start(at, low, entry_words)
        if offset < first:
            return None
        at_known = bisect.bisect_right(self._starts, offset)  # between what earlier searches read
        if at_known and self._numbers[at_known - 1] > low:
            low, first = self._numbers[at_known - 1], self._starts[at_known - 1]
        if at_known < len(self._starts) and self._numbers[at_known] <= high:
            high, last = self._numbers[at_known] - 1, self._starts[at_known]
        else:
            last = max((end for _, end in self.sections), default=0)
        tries = 0
        while low < high:
            middle = (low + high + 1) // 2
            if tries % 3 < 2 and last > first:  # every third step halves, whatever it holds
                middle = low + (offset - first) * (high + 1 - low) // (last - first)
                middle = max(low + 1, min(high, middle))
            tries += 1
            start = self._start(at, middle, entry_words)
            if start <= offset:
                low, first = middle, start
            else:
                high, last = middle - 1, start
        words = self._chunk(at, low, count, entry_words)
        found = None
        for index in range(0, len(words), entry_words):
            if words[index] > offset:
                break
            found = tuple(words[index : index + entry_words])
        return found

    def _start(self, at: int, number: int, entry_words: int) -> int:
        """The start of a chunk's first entry."""
        place = bisect.bisect_left(self._numbers, number)
        if place < len(self._numbers) and self._numbers[place] == number:
            return self._starts[place]
        data = self.exactly(at + number * _CHUNK * 4 * entry_words, 4)
        if len(self._numbers) < _KNOWN:
            self._numbers.insert(place, number)
            self._starts.insert(place, int.from_bytes(data, "little"))
        return int.from_bytes(data, "little")

    def _chunk(self, at: int, number: int, count: int, entry_words: int) -> list[int]:
        if number not in self._chunks:
            if len(self._chunks) >= _CACHED:
                self._chunks.clear()
            entries = min(_CHUNK, count - number * _CHUNK)
            data = self.exactly(at + number * _CHUNK * 4 * entry_words, entries * 4 * entry_words)
            self._chunks[number] = list(struct.unpack(f"<{entries * entry_words}I", data))
        return self._chunks[number]

    def pdb(self) -> PdbIdentity | None:
        """The reference to its PDB in the debug directory; None when that is missing."""
        try:
            at, size = self.directory(_DEBUG_DIRECTORY)
            if not at:
                return None
            table = self.exactly(at, min(size // 28, _MAX_DEBUG_ENTRIES) * 28)
            for start in range(0, len(table), 28):
                kind, length, address = struct.unpack_from("<III", table, start + 12)
                record = self.read(address, min(length, _MAX_CODEVIEW)) if kind == _CODEVIEW else b""
                if found := codeview_identity(record):
                    return found
        except UnreadableError:
            pass
        return None

"""The kernel's public PDB: where members lie in its structures, and where its variables are.

Of the types, only the few structures that are asked for are parsed; a variable is found by its name among the
public symbols (LLVM: The PDB File Format, CodeView Type Records, CodeView Symbol Records).
"""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path

from harness.dumps.dumpfile import DumpFile
from harness.dumps.msf import DamagedPdbError, Msf
from harness.errors import DumpError

_TPI, _DBI = 2, 3
_MAX_TYPES, _MAX_SYMBOLS, _MAX_DBI = 64 << 20, 64 << 20, 64 << 20
_STRUCTURE, _FIELD_LIST, _INDEX = 0x1505, 0x1203, 0x1404
_MEMBER, _NESTED = 0x150D, 0x1510
_PUBLIC = 0x110E
_FORWARD = 0x80
_MAX_MEMBERS = 4096
_NUMBERS = {0x8000: "b", 0x8001: "h", 0x8002: "H", 0x8003: "i", 0x8004: "I", 0x8009: "q", 0x800A: "Q"}


class NtPdb:
    """Structures and variables of one kernel build. What the PDB does not tell is None; nothing raises."""

    def __init__(self, path: Path) -> None:
        self._types = self._symbols = b""
        self._sections: list[int] = []
        self._first = 0x1000
        self._offsets: list[int] | None = None
        self._structures: dict[str, dict[str, int] | None] = {}
        self._sizes: dict[str, int] = {}
        with contextlib.suppress(DumpError, DamagedPdbError, struct.error), DumpFile(path) as file:
            msf = Msf(file)
            self._read_types(msf)
            self._read_symbols(msf)

    def _read_types(self, msf: Msf) -> None:
        stream = msf.stream(_TPI, _MAX_TYPES)
        _, head, self._first, _, size = struct.unpack_from("<5I", stream)
        self._types = stream[head : head + size]

    def _read_symbols(self, msf: Msf) -> None:
        dbi = msf.stream(_DBI, _MAX_DBI)
        (records,) = struct.unpack_from("<H", dbi, 20)
        self._symbols = msf.stream(records, _MAX_SYMBOLS)
        before = sum(struct.unpack_from("<iiiii", dbi, 24)) + struct.unpack_from("<i", dbi, 52)[0]
        at, (size,) = 64 + before, struct.unpack_from("<i", dbi, 48)
        numbers = struct.unpack_from(f"<{min(size, 64) // 2}H", dbi, at)
        headers = msf.stream(numbers[5], 96 * 40) if len(numbers) > 5 and numbers[5] != 0xFFFF else b""
        self._sections = [
            struct.unpack_from("<I", headers, start + 12)[0] for start in range(0, len(headers) - 39, 40)
        ]

    def variable(self, name: str) -> int | None:
        """Offset from the image base of a public symbol."""
        raw = name.encode() + b"\0"
        at = self._symbols.find(raw)
        while at >= 14:
            _, kind, _, offset, section = struct.unpack_from("<HHIIH", self._symbols, at - 14)
            if kind == _PUBLIC and 1 <= section <= len(self._sections):
                return int(self._sections[section - 1] + offset)
            at = self._symbols.find(raw, at + 1)
        return None

    def member(self, structure: str, name: str) -> int | None:
        """Offset of a member, in bytes."""
        found = self.members(structure)
        return found.get(name) if found else None

    def size(self, structure: str) -> int | None:
        """Size of a structure, in bytes."""
        self.members(structure)
        return self._sizes.get(structure)

    def members(self, structure: str) -> dict[str, int] | None:
        """Offsets of the members by name."""
        if structure not in self._structures:
            try:
                self._structures[structure] = self._parse(structure)
            except (struct.error, IndexError, ValueError):
                self._structures[structure] = None
        return self._structures[structure]

    def _parse(self, structure: str) -> dict[str, int] | None:
        raw = structure.encode() + b"\0"
        at = self._types.find(raw)
        while at >= 0:
            # LF_STRUCTURE: length, kind, count, properties, field list, derived, shape, size, name.
            for size_bytes in (2, 4, 6, 10):
                start = at - 20 - size_bytes
                if start < 0:
                    continue
                _, kind, _, properties, fields = struct.unpack_from("<HHHHI", self._types, start)
                if kind == _STRUCTURE and not properties & _FORWARD:
                    size, end = self._number(start + 20)
                    if end == at:
                        self._sizes[structure] = size
                        return self._fields(fields)
            at = self._types.find(raw, at + 1)
        return None

    def _fields(self, index: int) -> dict[str, int] | None:
        found: dict[str, int] = {}
        for _ in range(64):  # a long list goes on in another record
            at = self._record(index)
            if at is None:
                return None
            length, kind = struct.unpack_from("<HH", self._types, at)
            if kind != _FIELD_LIST:
                return None
            end, at, index = at + 2 + length, at + 4, 0
            while at < end and len(found) < _MAX_MEMBERS:
                (leaf,) = struct.unpack_from("<H", self._types, at)
                if leaf == _MEMBER:
                    offset, name_at = self._number(at + 8)
                    stop = self._types.index(b"\0", name_at)
                    found.setdefault(self._types[name_at:stop].decode("utf-8", "replace"), offset)
                elif leaf == _NESTED:
                    stop = self._types.index(b"\0", at + 8)
                elif leaf == _INDEX:
                    (index,) = struct.unpack_from("<I", self._types, at + 4)
                    break
                else:
                    return found
                at = stop + 1
                while at < end and self._types[at] >= 0xF0:  # padding
                    at += 1
            if not index:
                break
        return found

    def _number(self, at: int) -> tuple[int, int]:
        """A number leaf and where it ends."""
        (value,) = struct.unpack_from("<H", self._types, at)
        if value < 0x8000:
            return value, at + 2
        form = _NUMBERS.get(value, "x")
        (number,) = struct.unpack_from(f"<{form}", self._types, at + 2)
        return int(number), at + 2 + struct.calcsize(form)

    def _record(self, index: int) -> int | None:
        """Where the type record of an index starts."""
        if self._offsets is None:
            self._offsets = []
            at, types = 0, self._types
            while at + 4 <= len(types):
                self._offsets.append(at)
                at += 2 + (types[at] | types[at + 1] << 8)
        number = index - self._first
        return self._offsets[number] if 0 <= number < len(self._offsets) else None

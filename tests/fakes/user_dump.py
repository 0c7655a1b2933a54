"""Writes user minidumps: threads, modules, unloaded modules, memory (minidumpapiset.h)."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

ARCHITECTURES = {"x64": 9, "x86": 0, "arm64": 12}
IMAGE = 0x140000000


def context(arch: str, pc: int, sp: int, fp: int = 0) -> bytes:
    """A CONTEXT record."""
    if arch == "x86":
        data = bytearray(0x2CC)
        struct.pack_into("<I", data, 0, 0x1003F)
        struct.pack_into("<11I", data, 0x9C, 1, 2, 3, 4, 5, 6, fp, pc, 0x1B, 0x10246, sp)
    elif arch == "arm64":
        data = bytearray(0x390)
        struct.pack_into("<I", data, 0, 0x40000F)
        struct.pack_into("<Q", data, 0xF0, fp)
        struct.pack_into("<QQ", data, 0x100, sp, pc)
    else:
        data = bytearray(0x4D0)
        struct.pack_into("<I", data, 0x30, 0x10000F)
        struct.pack_into("<Q", data, 0x98, sp)
        struct.pack_into("<Q", data, 0xA0, fp)
        struct.pack_into("<Q", data, 0xF8, pc)
    return bytes(data)


def dispatched(pc: int, sp: int, at: int, code: int = 0xC0000005) -> bytes:
    """What lies at `at` on a stack while an exception is dispatched: CONTEXT, record, machine frame."""
    record = struct.pack("<IIQQI4xQQ", code, 0, 0, pc, 2, 0, 0xFFFFFFFFFFFFFFFF).ljust(0xA0, b"\0")
    frame = struct.pack("<5Q", pc, 0x33, 0x10246, sp, 0x2B)
    return (context("x64", pc, sp).ljust(0x4F0, b"\0") + record + frame).ljust(max(0, sp - at), b"\0")


@dataclass
class UserDump:
    """What goes into the dump. The first of `threads`, (id, context), is the one that crashed.

    memory: pieces of the list that other writers give; memory64: those of a full dump.
    """

    arch: str = "x64"
    code: int = 0xC0000005
    address: int = IMAGE + 0x1234
    threads: list[tuple[int, bytes]] = field(default_factory=list)
    modules: list[tuple[str, int, int]] = field(default_factory=lambda: [("app.exe", IMAGE, 0x10000)])
    unloaded: list[tuple[str, int, int]] = field(default_factory=list)
    memory: list[tuple[int, bytes]] = field(default_factory=list)
    memory64: list[tuple[int, bytes]] = field(default_factory=list)
    codeview: bytes = b""

    def encode(self) -> bytes:
        """The file."""
        out = bytearray(0x20 + 12 * 7)
        streams: list[tuple[int, int, int]] = []

        def put(data: bytes) -> int:
            out.extend(bytes(-len(out) % 8))
            out.extend(data)
            return len(out) - len(data)

        def stream(kind: int, data: bytes) -> int:
            at = put(data)
            streams.append((kind, len(data), at))
            return at

        def name(text: str) -> int:
            raw = text.encode("utf-16-le")
            return put(struct.pack("<I", len(raw)) + raw + b"\0\0")

        system = struct.pack("<HHHBBIIII", ARCHITECTURES[self.arch], 6, 0, 1, 1, 10, 0, 19045, 2)
        stream(7, system.ljust(56, b"\0"))
        records = b""
        for text, base, size in self.modules:
            record = struct.pack("<QIIII", base, size, 0, 0x5E000000, name(text)).ljust(76, b"\0")
            where = (len(self.codeview), put(self.codeview)) if self.codeview else (0, 0)
            records += record + struct.pack("<II", *where) + bytes(24)
        stream(4, struct.pack("<I", len(self.modules)) + records)
        placed = [(number, len(data), put(data)) for number, data in self.threads]
        records = b"".join(
            struct.pack("<I", number).ljust(40, b"\0") + struct.pack("<II", size, at)
            for number, size, at in placed
        )
        stream(3, struct.pack("<I", len(placed)) + records)
        first, size, at = placed[0] if placed else (0, 0, 0)
        raised = struct.pack("<IIQQIIQQ", self.code, 0, 0, self.address, 2, 0, 1, 0x10).ljust(0x98, b"\0")
        stream(6, struct.pack("<II", first, 0) + raised + struct.pack("<II", size, at))
        pieces = [(address, len(data), put(data)) for address, data in self.memory]
        stream(5, struct.pack("<I", len(pieces)) + b"".join(struct.pack("<QII", *one) for one in pieces))
        gone = [(base, size, 0, 7, name(text)) for text, base, size in self.unloaded]
        stream(14, struct.pack("<III", 12, 24, len(gone)) + b"".join(struct.pack("<QIIII", *g) for g in gone))
        table = b"".join(struct.pack("<QQ", address, len(data)) for address, data in self.memory64)
        at = stream(9, struct.pack("<QQ", len(self.memory64), 0) + table)
        struct.pack_into("<Q", out, at + 8, len(out))
        for _, data in self.memory64:
            out.extend(data)
        for index, one in enumerate(streams):
            struct.pack_into("<III", out, 0x20 + 12 * index, *one[:1], *one[1:])
        struct.pack_into("<4sIIIIIQ", out, 0, b"MDMP", 0xA793, len(streams), 0x20, 0, 1700000000, 2)
        return bytes(out)

"""Writes kernel dumps of every layout with page tables, a kernel's module list, KDBG, a stack and a context.

It shares nothing with the reader: layouts are those of the fact sheet, written out by position.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

PAGE = 0x1000
KERNEL = 0xFFFFF80010000000
DRIVER = 0xFFFFF80020000000
LIST_HEAD = 0xFFFFF80010005000
ENTRIES = 0xFFFFF80010006000
KDBG = 0xFFFFF80010008000
UNLOADED = 0xFFFFF80030000000
STACK = 0xFFFF850000000000
LARGE = 0xFFFFF80040000000  # mapped by one 2 MiB page
RIP = DRIVER + 0x1234
RSP = STACK + 0x100
DRIVER_STAMP = 0x5EADBEEF
PARAMETERS = (0x10, 2, 1, RIP)
RETURN = DRIVER + 0x1456
FIRST_PFN = 0x100


@dataclass
class Guest:
    """Physical pages by number, and the tables that map virtual ones."""

    pages: dict[int, bytearray] = field(default_factory=dict)
    next_pfn: int = FIRST_PFN
    root: int = 0

    def __post_init__(self) -> None:
        self.root = self.new_page()

    def new_page(self) -> int:
        pfn = self.next_pfn
        self.next_pfn += 1
        self.pages[pfn] = bytearray(PAGE)
        return pfn

    def table(self, address: int, levels: tuple[int, ...]) -> int:
        table = self.root
        for shift in levels:
            at = 8 * (address >> shift & 0x1FF)
            entry = struct.unpack_from("<Q", self.pages[table], at)[0]
            if not entry:
                entry = self.new_page() << 12 | 0x63
                struct.pack_into("<Q", self.pages[table], at, entry)
            table = entry >> 12
        return table

    def map_page(self, address: int, flags: int = 0x63) -> int:
        table = self.table(address, (39, 30, 21))
        pfn = self.new_page()
        struct.pack_into("<Q", self.pages[table], 8 * (address >> 12 & 0x1FF), pfn << 12 | flags)
        return pfn

    def map_large(self, address: int, pfn: int) -> None:
        table = self.table(address, (39, 30))
        struct.pack_into("<Q", self.pages[table], 8 * (address >> 21 & 0x1FF), pfn << 12 | 0xE3)

    def write(self, pfn: int, at: int, data: bytes) -> None:
        self.pages[pfn][at : at + len(data)] = data


def image_header(stamp: int) -> bytes:
    head = bytearray(0x200)
    head[:2] = b"MZ"
    struct.pack_into("<I", head, 0x3C, 0x80)
    head[0x80:0x84] = b"PE\0\0"
    struct.pack_into("<HHI", head, 0x84, 0x8664, 1, stamp)
    struct.pack_into("<H", head, 0x80 + 20, 0xF0)
    struct.pack_into("<8sIIII", head, 0x80 + 24 + 0xF0, b".text", 0x3000, 0x1000, 0x3000, 0x400)
    struct.pack_into("<I", head, 0x80 + 24 + 0xF0 + 36, 0x60000020)
    return bytes(head)


def entry(flink: int, base: int, size: int, name_at: int, path: str, name: str, stamp: int) -> bytes:
    data = bytearray(0xA0)
    struct.pack_into("<Q", data, 0, flink)
    struct.pack_into("<QQI", data, 0x30, base, base, size)
    full, short = path.encode("utf-16-le"), name.encode("utf-16-le")
    struct.pack_into("<HHIQ", data, 0x48, len(full), len(full), 0, name_at)
    struct.pack_into("<HHIQ", data, 0x58, len(short), len(short), 0, name_at + len(full) - len(short))
    struct.pack_into("<I", data, 0x78, 0xC0FFEE)
    struct.pack_into("<I", data, 0x9C, stamp)
    return bytes(data)


def guest() -> Guest:
    made = Guest()
    head = made.map_page(LIST_HEAD)
    entries = made.map_page(ENTRIES)
    made.write(head, 0, struct.pack("<QQ", ENTRIES, ENTRIES + 0x200))
    names = ("\\SystemRoot\\system32\\ntoskrnl.exe", "\\SystemRoot\\System32\\drivers\\bad.sys")
    for index, name in enumerate(names):
        made.write(entries, 0x800 + 0x100 * index, name.encode("utf-16-le"))
    made.write(
        entries, 0, entry(ENTRIES + 0x200, KERNEL, 0x100000, ENTRIES + 0x800, names[0], "ntoskrnl.exe", 7)
    )
    made.write(entries, 0x200, entry(LIST_HEAD, DRIVER, 0x5000, ENTRIES + 0x900, names[1], "bad.sys", 8))
    kdbg = made.map_page(KDBG)
    made.write(kdbg, 0x10, b"KDBG" + struct.pack("<IQ", 0x380, KERNEL))
    made.write(kdbg, 0x208, struct.pack("<Q", KDBG + 0x800))
    made.write(kdbg, 0x800, b"20348.1.amd64fre.fe_release\0")
    made.write(kdbg, 0x220, struct.pack("<Q", KDBG + 0x880))
    made.write(kdbg, 0x880, struct.pack("<Q", KDBG + 0x900))
    made.write(kdbg, 0x900, struct.pack("<HHIQQQQ", 14, 14, 0, KDBG + 0x890, UNLOADED, UNLOADED + 0x2000, 1))
    made.write(kdbg, 0x890, "old.sys".encode("utf-16-le"))
    made.write(made.map_page(DRIVER), 0, image_header(DRIVER_STAMP))
    # Transition: not present, bit 11 set, bit 10 clear. Its page still holds the driver's code.
    code = made.map_page(DRIVER + PAGE, flags=0x860)
    made.write(code, 0x456 - 5, b"\xe8\1\2\3\4")
    stack = made.map_page(STACK)
    made.write(stack, 0x110, struct.pack("<Q", RETURN))
    made.write(stack, 0x118, struct.pack("<Q", DRIVER + 0x4800))  # data, not code
    made.write(stack, 0x120, struct.pack("<Q", KERNEL + 0x2345))
    made.next_pfn = 0x400
    large = made.new_page()
    made.map_large(LARGE, 0x400)
    made.write(large, 0x10, b"in a large page")
    return made


def header(kind: int, made: Guest, machine: int = 0x8664, code: int = 0xD1) -> bytearray:
    data = bytearray(b"PAGE" * (0x2000 // 4))
    data[:8] = b"PAGEDU64"
    struct.pack_into("<IIQ", data, 0x8, 0xF, 20348, made.root << 12 | 5)  # the low bits are a PCID
    struct.pack_into("<Q", data, 0x20, LIST_HEAD)
    struct.pack_into("<III", data, 0x30, machine, 4, code)
    struct.pack_into("<4Q", data, 0x40, *PARAMETERS)
    struct.pack_into("<Q", data, 0x80, KDBG)
    context = bytearray(0x4D0)
    struct.pack_into("<I", context, 0x30, 0x10001F)
    struct.pack_into("<Q", context, 0x98, RSP)
    struct.pack_into("<Q", context, 0xF8, RIP)
    if machine == 0xAA64:
        struct.pack_into("<I", context, 0, 0x40001F)
        struct.pack_into("<QQ", context, 0x100, RSP, RIP)
    data[0x348 : 0x348 + len(context)] = context
    data[0xF00:0xF98] = bytes(0x98)
    struct.pack_into("<I", data, 0xF98, kind)
    struct.pack_into("<Q", data, 0xFA8, 0x01D707F23DBB3399)
    struct.pack_into("<Q", data, 0x1030, 123_0000000)
    struct.pack_into("<I", data, 0x1048, 0)
    return data


def runs(pfns: Iterable[int]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for pfn in sorted(pfns):
        if found and sum(found[-1]) == pfn:
            found[-1] = (found[-1][0], found[-1][1] + 1)
        else:
            found.append((pfn, 1))
    return found


def full(made: Guest) -> bytes:
    head = header(1, made)
    described = runs(made.pages)
    struct.pack_into("<IIQ", head, 0x88, len(described), 0, len(made.pages))
    for index, run in enumerate(described):
        struct.pack_into("<QQ", head, 0x98 + 16 * index, *run)
    return bytes(head) + pages(made)


def bitmap(made: Guest, kind: int = 5, magic: bytes = b"FDMP", bits: int = 0x800) -> bytes:
    table = bytearray(bits // 8)
    for pfn in made.pages:
        table[pfn >> 3] |= 1 << (pfn & 7)
    first = 0x2000 + 0x38 + len(table)
    head = magic + b"DUMP" + b"\xcc" * 24 + struct.pack("<QQQ", first, len(made.pages), bits)
    return bytes(header(kind, made)) + head + bytes(table) + pages(made)


def ranges(made: Guest, kind: int = 8) -> bytes:
    described = runs(made.pages)
    table = b"".join(struct.pack("<QQ", *run) for run in described)
    metadata = 0x10 + len(table)
    head = struct.pack("<I4s4sIQQ", 0x40, b"RDMP", b"DUMP", 0, metadata, metadata + 0x2020)
    head += struct.pack("<IIQ", len(described), 0, len(made.pages)) if kind == 10 else bytes(16)
    return bytes(header(kind, made)) + head + table + pages(made)


def pages(made: Guest) -> bytes:
    return b"".join(bytes(made.pages[pfn]) for pfn in sorted(made.pages))


def triage(machine: int = 0x8664) -> bytes:
    """A kernel minidump with one driver, one unloaded one, a stack and no data blocks but one."""
    made = guest()
    data = header(4, made, machine) + bytearray(0x2000)
    name = "\\SystemRoot\\System32\\drivers\\bad.sys"
    struct.pack_into("<III", data, 0x2000, 0, 0x4000, 0x3FFC)
    struct.pack_into("<I", data, 0x2018, 0x2800)
    struct.pack_into("<IIII", data, 0x2028, 0x3000, 0x200, 0x2400, 1)
    struct.pack_into("<Q", data, 0x2048, STACK + 0x100)
    struct.pack_into("<II", data, 0x2078, 0x2600, 1)
    struct.pack_into("<I", data, 0x2400, 0x2500)
    struct.pack_into("<QQI", data, 0x2438, DRIVER, 0, 0x5000)
    struct.pack_into("<I", data, 0x2488, DRIVER_STAMP)
    struct.pack_into("<I", data, 0x2500, len(name))
    data[0x2504 : 0x2504 + 2 * len(name)] = name.encode("utf-16-le")
    struct.pack_into("<QII", data, 0x2600, DRIVER + 0x1400, 0x2700, 0x100)
    data[0x2700 + 0x51 : 0x2700 + 0x56] = b"\xe8\1\2\3\4"
    struct.pack_into("<I", data, 0x2800, 1)
    struct.pack_into("<HH", data, 0x2808, 14, 14)
    data[0x2818 : 0x2818 + 14] = "old.sys".encode("utf-16-le")
    struct.pack_into("<QQ", data, 0x2808 + 40, DRIVER + 0x10000, DRIVER + 0x12000)
    struct.pack_into("<Q", data, 0x3010, RETURN)
    data[0x3FFC:0x4000] = b"TRGD"
    return bytes(data)


def secondary() -> bytes:
    """What follows the triage part: two blobs of data that drivers registered."""
    blob = struct.pack("<I16sIII", 32, b"", 5, 3, 8) + bytes(5 + 3 + 8)
    return b"DumpBlob" + struct.pack("<II", 16, 1) + blob * 2


def minidump(base: int, size: int, stamp: int, offset: int, name: str = "C:\\x\\tiny.sys") -> bytes:
    """A user dump as Wine writes it: exception at `offset` of one module, unaligned, with stream 0xFFF0."""
    rip, rsp = base + offset, 0x7FFE0000
    context = bytearray(0x4D0)
    struct.pack_into("<I", context, 0x30, 0x10001F)
    struct.pack_into("<Q", context, 0x98, rsp)
    struct.pack_into("<Q", context, 0xF8, rip)
    parts: list[tuple[int, bytes]] = []
    position = 0x20 + 12 * 8
    blob = bytearray()

    def place(data: bytes) -> int:
        at = position + len(blob)
        blob.extend(data)
        return at

    text = name.encode("utf-16-le")
    name_at = place(struct.pack("<I", len(text)) + text + b"\0\0\0")
    context_at = place(bytes(context))
    stack_at = place(struct.pack("<QQ", 0, base + offset + 0x10))
    parts.append((7, struct.pack("<HHHBBIIII", 9, 6, 0, 2, 1, 10, 0, 19043, 2).ljust(56, b"\0") + b"WINE"))
    parts.append((4, struct.pack("<IQIIII", 1, base, size, 0, stamp, name_at).ljust(4 + 108, b"\0")))
    parts.append((0xFFF0, struct.pack("<I", 0)))
    parts.append((5, struct.pack("<IQII", 1, rsp, 16, stack_at)))
    record = struct.pack("<IIQQIIQQ", 0xC0000005, 0, 0, rip, 2, 0, 1, 0).ljust(0x98, b"\0")
    parts.append((6, struct.pack("<II", 0x148, 0) + record + struct.pack("<II", 0x4D0, context_at)))
    directory = bytearray()
    for kind, data in parts:
        length = 56 if kind == 7 else len(data)
        directory += struct.pack("<III", kind, length, place(data))
    head = struct.pack("<4sIIIIIQ", b"MDMP", 0xA793, 8, 0x20, 0, 1700000000, 0)
    return head + bytes(directory.ljust(12 * 8, b"\0")) + bytes(blob)


def write(folder: Path, data: bytes, name: str = "made.dmp") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path

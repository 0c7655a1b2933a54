"""QEMU's ELF dump of `dump_writer`'s crashed kernel, written by position; shares nothing with the reader."""

from __future__ import annotations

import struct

from tests.fakes import dump_writer as writer

IDT = 0xFFFFF80050000000
BUGCHECK = writer.KDBG + 0xA00
SHARED = 0xFFFFF78000000000


def crashed(code: int = 0xD1, length: int = 0x380) -> writer.Guest:
    """The kernel with what the conversion looks for. length: of KDDEBUGGER_DATA64 as it says."""
    made = writer.guest()
    head = bytearray(writer.image_header(7))
    struct.pack_into("<I", head, 0x80 + 0x50, 0x100000)
    made.write(made.map_page(writer.KERNEL), 0, bytes(head))
    kdbg = made.pages[_page(made, writer.KDBG)]
    struct.pack_into("<I", kdbg, 0x14, length)
    struct.pack_into("<QQ", kdbg, 0x48, writer.LIST_HEAD, writer.LIST_HEAD + 0x80)
    struct.pack_into("<Q", kdbg, 0x88, BUGCHECK)
    struct.pack_into("<5Q", kdbg, 0xA00, code, *writer.PARAMETERS)
    gate = writer.KERNEL + 0x1234
    idt = made.map_page(IDT)
    made.write(idt, 0, struct.pack("<HHHHI", gate & 0xFFFF, 0x10, 0x8E00, gate >> 16 & 0xFFFF, gate >> 32))
    shared = made.map_page(SHARED)
    made.write(shared, 0x8, struct.pack("<Q", 123_0000000))
    made.write(shared, 0x14, struct.pack("<Q", 0x01D707F23DBB3399))
    return made


def elf(made: writer.Guest) -> bytes:
    """The file: one segment for each run of pages, and the note of one processor."""
    note = _note(made)
    described = writer.runs(made.pages)
    at = 64 + 56 * (len(described) + 1)
    headers = struct.pack("<IIQQQQQQ", 4, 0, at, 0, 0, len(note), len(note), 0)
    place = at + len(note)
    for first, count in described:
        size = count * writer.PAGE
        headers += struct.pack("<IIQQQQQQ", 1, 0, place, 0, first * writer.PAGE, size, size, 0)
        place += size
    head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 4, 0x3E, 1, 0, 64, 0, 0, 64, 56, len(described) + 1, 0, 0, 0)  # fmt: skip  # noqa: E501
    return head + headers + note + writer.pages(made)


def _note(made: writer.Guest) -> bytes:
    registers = [0x1000 + number for number in range(18)]
    registers[6], registers[16], registers[17] = writer.RSP, writer.RIP, 0x46
    segments = [struct.pack("<IIIIQ", 0x10 + number, 0xFFFF, 0, 0, 0) for number in range(9)]
    segments.append(struct.pack("<IIIIQ", 0, 0xFFF, 0, 0, IDT))
    control = struct.pack("<5Q", 0x80050033, 0, 0, made.root << 12, 0x6F8)
    state = struct.pack("<II18Q", 1, 440, *registers) + b"".join(segments) + control + bytes(8)
    other = struct.pack("<III", 5, 8, 1) + b"CORE\0\0\0\0" + bytes(8)
    return other + struct.pack("<III", 5, len(state), 0) + b"QEMU\0\0\0\0" + state


def _page(made: writer.Guest, address: int) -> int:
    table = made.table(address, (39, 30, 21))
    return int(struct.unpack_from("<Q", made.pages[table], 8 * (address >> 12 & 0x1FF))[0] >> 12)

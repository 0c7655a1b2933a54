"""Full dumps of ARM64: page tables as the architecture lays them out, drivers, registers, stack."""

from __future__ import annotations

import struct
from pathlib import Path

from harness.dumps import cpu
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import read_header
from harness.dumps.formats.pagetables import PagedMemory
from harness.dumps.formats.physical import physical_memory
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import Found
from tests.fakes import dump_writer as writer

VALID, TABLE, ACCESSED = 1, 2, 1 << 10
UPPER_ATTRIBUTES = 0x0060_0000_0000_0000  # execution is not allowed
BLOCK = 0xFFFFF80080000000


def arm64_guest() -> writer.Guest:
    """The guest of the x64 dumps, whose table entries are changed to descriptors of ARM64."""
    made = writer.guest()
    tables = {made.root}
    for level in range(4):
        following: set[int] = set()
        for table in tables:
            for at in range(0, writer.PAGE, 8):
                (entry,) = struct.unpack_from("<Q", made.pages[table], at)
                if not entry & 1:
                    continue
                large = level == 2 and entry & 0x80
                pfn = entry >> 12
                value = pfn << 12 | VALID | (0 if large else TABLE) | ACCESSED | UPPER_ATTRIBUTES
                struct.pack_into("<Q", made.pages[table], at, value)
                if level < 3 and not large:
                    following.add(pfn)
        tables = following
    return made


def full(made: writer.Guest) -> bytes:
    """A full dump, with two frame records on the stack: the caller's, and the end."""
    stack = (writer.STACK + 0x180, writer.RETURN, 0, 0)
    table = next(
        pfn for pfn in made.pages if made.pages[pfn][0x110:0x118] == struct.pack("<Q", writer.RETURN)
    )
    made.write(table, 0x140, struct.pack("<QQ", *stack[:2]))
    made.write(table, 0x180, struct.pack("<QQ", *stack[2:]))
    data = bytearray(writer.full(made))
    head = writer.header(1, made, cpu.ARM64)
    struct.pack_into("<Q", head, 0x348 + 8 + 8 * 29, writer.STACK + 0x140)  # Fp
    data[:0x88] = head[:0x88]
    data[0x348:0xF00] = head[0x348:0xF00]
    return bytes(data)


def test_drivers_fault_and_stack_are_read_through_the_tables(tmp_path: Path) -> None:
    found = summarise(writer.write(tmp_path, full(arm64_guest())))
    assert found.arch == "arm64"
    assert [module.name for module in found.modules] == ["ntoskrnl.exe", "bad.sys"]
    assert found.system["build_lab"] == "20348.1.amd64fre.fe_release"
    assert found.fault
    assert (found.fault.module, found.fault.offset) == ("bad.sys", 0x1234)
    assert found.registers["pc"] == writer.RIP
    assert found.stack[0].found is Found.REGISTERS
    assert "not checked with a dump of a real Windows" in found.warnings[0]


def test_blocks_tables_and_what_is_neither(tmp_path: Path) -> None:
    made = arm64_guest()
    poke_block(made)
    with DumpFile(writer.write(tmp_path, full(made))) as file:
        header = read_header(file)
        physical = physical_memory(file, header, [])
        assert physical
        memory = PagedMemory(file, physical, header.page_table, header.machine)
        assert memory.read(writer.LARGE + 0x10, 15) == b"in a large page"
        assert memory.read(writer.DRIVER, 2) == b"MZ"
        assert memory.translate(BLOCK + 0x12345678) == 0x40000000 + 0x12345678  # of 1 GiB
        assert memory.read(writer.DRIVER + writer.PAGE, 8) == b"", "in transition: not told on ARM64"
        assert memory.translate(0x0000_9000_0000_0000) is None


def poke_block(made: writer.Guest) -> None:
    """A block of 1 GiB at `BLOCK`, which no dump of an x64 machine has so early."""
    (root,) = struct.unpack_from("<Q", made.pages[made.root], 8 * (BLOCK >> 39 & 0x1FF))
    table = (root & 0x0000_FFFF_FFFF_F000) >> 12
    struct.pack_into("<Q", made.pages[table], 8 * (BLOCK >> 30 & 0x1FF), 0x40000000 | VALID | ACCESSED)


def test_a_block_where_the_architecture_has_none_is_not_followed(tmp_path: Path) -> None:
    made = arm64_guest()
    struct.pack_into("<Q", made.pages[made.root], 8 * (writer.DRIVER >> 39 & 0x1FF), 0x1000 | VALID)
    found = summarise(writer.write(tmp_path, full(made)))
    assert found.modules == ()
    assert any("cannot be reached" in warning for warning in found.warnings)

"""The reader against others: kdmp-parser for memory dumps, minidump for user dumps, where they are installed.

Each runs in a process of its own, since kdmp-parser may die of a file, and prints what it found as JSON.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import read_header
from harness.dumps.formats.pagetables import PagedMemory
from harness.dumps.formats.physical import physical_memory
from harness.dumps.formats.reader import summarise
from tests.fakes import dump_writer as writer

GUEST = writer.guest()
LAYOUTS = {
    "full": writer.full(GUEST),
    "bitmap-full": writer.bitmap(GUEST),
    "bitmap-kernel": writer.bitmap(GUEST, 6, b"SDMP"),
    "kernel": writer.ranges(GUEST, 8),
    "complete": writer.ranges(GUEST, 10),
}
ADDRESSES = (writer.DRIVER, writer.DRIVER + 0x1000, writer.STACK + 0x110, writer.LARGE, writer.KDBG)

KDMP_PARSER = """
import json, sys
from kdmp_parser import KernelDumpParser
dump = KernelDumpParser(sys.argv[1])
print(json.dumps({
    "code": dump.header.BugCheckCode,
    "rip": dump.context.Rip,
    "rsp": dump.context.Rsp,
    "memory": [dump.read_virtual_page(int(a)).hex() for a in sys.argv[2:]],
}))
"""
MINIDUMP = """
import json, sys
from minidump.minidumpfile import MinidumpFile
data = bytearray(open(sys.argv[1], "rb").read())
at = data.index(b"\\xf0\\xff\\0\\0", 0x20)
data[at:at + 4] = bytes(4)  # Wine's own stream stops it
dump = MinidumpFile.parse_bytes(bytes(data))
record = dump.exception.exception_records[0].ExceptionRecord
print(json.dumps({
    "address": record.ExceptionAddress,
    "parameters": record.ExceptionInformation[:2],
    "modules": [[m.name, m.baseaddress, m.size, m.timestamp] for m in dump.modules.modules],
}))
"""


def oracle(module: str, program: str, path: Path, *arguments: int) -> dict[str, Any]:
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    command = [sys.executable, "-c", program, str(path), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.mark.parametrize("layout", LAYOUTS)
def test_kdmp_parser_reads_the_same_memory(layout: str, tmp_path: Path) -> None:
    path = writer.write(tmp_path, LAYOUTS[layout])
    pages = tuple(address & ~0xFFF for address in ADDRESSES if address != writer.DRIVER + 0x1000)
    theirs = oracle("kdmp_parser", KDMP_PARSER, path, *pages)
    ours = summarise(path)
    assert ours.bugcheck
    assert (theirs["code"], theirs["rip"], theirs["rsp"]) == (
        *(ours.bugcheck.code, ours.registers["rip"], ours.registers["rsp"]),
    )
    with DumpFile(path) as file:
        header = read_header(file)
        physical = physical_memory(file, header, [])
        assert physical
        memory = PagedMemory(file, physical, header.page_table)
        assert theirs["memory"] == [memory.read(page, 0x1000).hex() for page in pages]


def test_minidump_reads_the_same_user_dump(tmp_path: Path) -> None:
    path = writer.write(tmp_path, writer.minidump(0x180000000, 0x5000, 0x1234, 0x1100))
    compare(path)


def test_minidump_reads_the_same_of_wines_dump(samples: Path) -> None:
    compare(samples / "wine-null-write.mdmp")


def compare(path: Path) -> None:
    theirs = oracle("minidump", MINIDUMP, path)
    ours = summarise(path)
    assert ours.exception
    assert (theirs["address"], theirs["parameters"]) == (
        ours.exception.address,
        list(ours.exception.parameters),
    )
    assert theirs["modules"] == [[m.path, m.base, m.size, m.timestamp] for m in ours.modules]

"""Kernel dumps of every layout, built here: header, page tables, modules, stack; cut and hostile ones."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from harness.dumps.attribution import follows_call
from harness.dumps.bugcheck import explanation, lookup
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.kerneldump import read_header
from harness.dumps.formats.pagetables import PagedMemory
from harness.dumps.formats.physical import Bitmap, physical_memory
from harness.dumps.formats.reader import summarise
from harness.dumps.summary import summary_document
from harness.dumps.text import page
from harness.errors import DumpError
from tests.bench.dump import sparse
from tests.fakes import dump_writer as writer

GUEST = writer.guest()
LAYOUTS = {
    "full": writer.full(GUEST),
    "bitmap-full": writer.bitmap(GUEST),
    "bitmap-kernel": writer.bitmap(GUEST, 6, b"SDMP"),
    "kernel": writer.ranges(GUEST, 8),
    "kernel-and-user": writer.ranges(GUEST, 9),
    "complete": writer.ranges(GUEST, 10),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_facts(layout: str, tmp_path: Path) -> None:
    found = summarise(writer.write(tmp_path, LAYOUTS[layout]))
    assert found.type == layout.partition("-full")[0].replace("bitmap-kernel", "bitmap")
    assert (found.arch, found.system["build"], found.system["uptime_s"]) == ("x64", 20348, 123.0)
    assert found.system["build_lab"] == "20348.1.amd64fre.fe_release"
    assert found.bugcheck
    assert found.bugcheck.name == "DRIVER_IRQL_NOT_LESS_OR_EQUAL"
    assert [(m.name, m.base, m.size, m.timestamp) for m in found.modules] == [
        ("ntoskrnl.exe", writer.KERNEL, 0x100000, 7),
        ("bad.sys", writer.DRIVER, 0x5000, writer.DRIVER_STAMP),  # from its PE header, not from the list
    ]
    assert [(m.name, m.base, m.size) for m in found.unloaded] == [("old.sys", writer.UNLOADED, 0x2000)]
    assert found.fault
    assert (found.fault.module, found.fault.offset) == ("bad.sys", 0x1234)
    assert [(w.place.module, w.place.offset, w.called) for w in found.words] == [
        ("bad.sys", 0x1456, True),
        ("bad.sys", 0x4800, False),
        ("ntoskrnl.exe", 0x2345, None),
    ]
    assert not found.truncated
    assert not found.warnings


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_is_read_through_the_page_tables(layout: str, tmp_path: Path) -> None:
    with DumpFile(writer.write(tmp_path, LAYOUTS[layout])) as file:
        header = read_header(file)
        physical = physical_memory(file, header, [])
        assert physical
        memory = PagedMemory(file, physical, header.page_table)
        assert memory.read(writer.LARGE + 0x10, 15) == b"in a large page"
        across = memory.read(writer.DRIVER + 0xFF0, 0x20)
        assert across == bytes(GUEST.pages[physical_page(memory, writer.DRIVER)][0xFF0:]) + bytes(0x10)
        assert memory.read(writer.STACK + 0xFFE, 8) == bytes(2)  # the next page is not mapped
        assert memory.read(0x1234_0000_0000_0000, 8) == b""  # not canonical


def physical_page(memory: PagedMemory, address: int) -> int:
    physical = memory.translate(address)
    assert physical is not None
    return physical // 0x1000


def test_a_bitmap_is_counted_from_its_least_significant_bit() -> None:
    bits = bytearray(10000)
    for pfn in (3, 8, 40000, 79999):
        bits[pfn >> 3] |= 1 << (pfn & 7)
    bitmap = Bitmap(memoryview(bytes(bits)), 80000, 0x5038)
    assert [bitmap.offset(pfn) for pfn in (3, 8, 40000, 79999)] == [0x5038 + n * 0x1000 for n in range(4)]
    assert bitmap.offset(4) is None
    assert bitmap.offset(80000) is None


@pytest.mark.parametrize("machine", [0x8664, 0xAA64])
def test_a_triage_dump_of_either_architecture(machine: int, tmp_path: Path) -> None:
    found = summarise(writer.write(tmp_path, writer.triage(machine)))
    assert (found.type, found.arch) == ("triage", {0x8664: "x64", 0xAA64: "arm64"}[machine])
    assert found.registers["rip" if machine == 0x8664 else "pc"] == writer.RIP
    assert [m.name for m in found.modules] == ["bad.sys"]
    assert [(m.name, m.size) for m in found.unloaded] == [("old.sys", 0x2000)]
    assert found.words[0].place.offset == 0x1456
    assert not found.warnings


def test_page_tables_of_arm64_are_refused_and_the_header_is_kept(tmp_path: Path) -> None:
    data = bytearray(LAYOUTS["full"])
    data[:0x2000] = writer.header(1, GUEST, 0xAA64)
    found = summarise(writer.write(tmp_path, bytes(data)))
    assert found.registers["pc"] == writer.RIP
    assert "arm64" in found.warnings[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_cut_dump_says_how_much_is_usable(layout: str, tmp_path: Path) -> None:
    data = LAYOUTS[layout]
    found = summarise(writer.write(tmp_path, data[:-0x800]))
    assert found.truncated
    total = len(GUEST.pages)
    assert f"{total - 1} of {total} pages" in " ".join(found.warnings)
    assert found.bugcheck
    assert found.bugcheck.parameters == writer.PARAMETERS


@pytest.mark.parametrize("size", [0x60, 0x61, 0x350, 0x1FFF, 0x2000, 0x2030, 0x2410, 0x3010])
@pytest.mark.parametrize("kind", ["triage", "bitmap", "full"])
def test_a_dump_cut_anywhere_still_names_its_bugcheck(kind: str, size: int, tmp_path: Path) -> None:
    data = {"triage": writer.triage(), "bitmap": LAYOUTS["bitmap-full"], "full": LAYOUTS["full"]}[kind]
    found = summarise(writer.write(tmp_path, data[:size]))
    assert found.bugcheck
    assert found.bugcheck.code == 0xD1
    assert found.warnings
    assert found.truncated


def test_a_triage_dump_that_is_cut_behind_its_triage_part_is_reported(tmp_path: Path) -> None:
    whole = writer.triage() + writer.secondary()
    assert not summarise(writer.write(tmp_path, whole)).truncated
    for size in (0x4004, 0x400C, 0x4010 + 20, 0x4010 + 40, len(whole) - 1):
        found = summarise(writer.write(tmp_path, whole[:size]))
        assert found.truncated
        assert f"{size} of at least" in found.warnings[0]
        assert [module.name for module in found.modules] == ["bad.sys"]


def test_a_driver_without_a_name_still_takes_the_blame(tmp_path: Path) -> None:
    data = bytearray(writer.triage())
    struct.pack_into("<I", data, 0x2400, 0)
    found = summarise(writer.write(tmp_path, bytes(data)))
    assert found.fault
    assert (found.fault.module, found.fault.offset) == ("unknown", 0x1234)


def test_a_half_written_triage_dump_is_reported(tmp_path: Path) -> None:
    data = writer.triage()
    found = summarise(writer.write(tmp_path, data[:0x2000] + bytes(0x2000)))
    assert found.truncated
    assert "not written" in found.warnings[0]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"PAGEDU64", "hold no bugcheck"),
        (b"PAGEDUMP" + bytes(0x1000), "32-bit"),
        (b"PAGE" * 0x800, "never written"),
        (b"MSCF" + bytes(100), "CAB"),
        (b"PK\3\4" + bytes(100), "ZIP"),
        (b"MDMP", "truncated"),
        (b"hello", "not a crash dump"),
        (b"", "empty"),
    ],
)
def test_what_is_no_dump_is_one_clear_error(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(DumpError, match=says):
        summarise(writer.write(tmp_path, data))


@pytest.mark.parametrize("fill", [b"\0", b"PAGE"])
def test_a_header_without_a_fact_is_no_dump_of_a_system_that_ran(fill: bytes, tmp_path: Path) -> None:
    file = tmp_path / "empty.dmp"
    file.write_bytes(b"PAGEDU64" + fill * (0x4000 // len(fill)))
    with pytest.raises(DumpError, match="empty behind its signature"):
        summarise(file)


@pytest.mark.parametrize(
    ("at", "value", "field", "name"),
    [
        (0xC, 0xFFFFFFFE, "build", "build"),
        (0x34, 1_000_000, "processors", "number of processors"),
        (0xFA8, 1, "time", "time"),
        (0x1030, 1 << 62, "uptime_s", "up time"),
    ],
)
def test_what_a_header_cannot_mean_is_no_fact(
    at: int, value: int, field: str, name: str, tmp_path: Path
) -> None:
    data = bytearray(writer.triage())
    struct.pack_into("<I" if at < 0x40 else "<Q", data, at, value)
    found = summarise(writer.write(tmp_path, bytes(data)))
    assert found.system[field] is None
    assert f"The header's {name}, {value:#x}, cannot be right: it is left out." in found.warnings
    assert found.bugcheck
    assert found.bugcheck.name == "DRIVER_IRQL_NOT_LESS_OR_EQUAL"


def test_no_bugcheck_is_no_proof_of_a_system_that_ran(tmp_path: Path) -> None:
    data = bytearray(writer.triage())
    struct.pack_into("<I", data, 0x38, 0)
    found = summarise(writer.write(tmp_path, bytes(data))).bugcheck
    assert found
    assert found.explanation == "No bugcheck is recorded: the system seems not to have crashed."


def test_a_folder_a_fifo_and_nothing_are_refused(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for path in (tmp_path, fifo, tmp_path / "absent"):
        with pytest.raises(DumpError):
            summarise(path)


def test_a_looping_module_list_ends(tmp_path: Path) -> None:
    made = writer.guest()
    table = made.table(writer.ENTRIES, (39, 30, 21))
    pfn = struct.unpack_from("<Q", made.pages[table], 8 * (writer.ENTRIES >> 12 & 0x1FF))[0] >> 12
    made.write(pfn, 0x200, struct.pack("<Q", writer.ENTRIES))  # back to the first entry, not to the head
    found = summarise(writer.write(tmp_path, writer.full(made)))
    assert len(found.modules) == 2
    assert "is damaged after entry 2" in found.warnings[0]


def test_an_oversized_bitmap_is_not_believed(tmp_path: Path) -> None:
    data = bytearray(LAYOUTS["bitmap-full"])
    struct.pack_into("<Q", data, 0x2030, 1 << 60)
    found = summarise(writer.write(tmp_path, bytes(data)))
    assert "more than the reader's limit" in found.warnings[0]


MEASURE = """
import sys
from pathlib import Path
from harness.dumps.formats.reader import summarise
found = summarise(Path(sys.argv[1]))
status = Path('/proc/self/status').read_text()  # ru_maxrss would count the parent before exec
print(len(found.modules), status.partition('VmHWM:')[2].split()[0])
"""


def test_eight_gigabytes_take_little_memory(tmp_path: Path) -> None:
    path = sparse(tmp_path / "large.dmp")
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    modules, kilobytes = done.stdout.split()
    assert modules == "2"
    assert int(kilobytes) < 100 * 1024


def test_the_command_prints_json_and_a_page(tmp_path: Path) -> None:
    path = writer.write(tmp_path, LAYOUTS["bitmap-full"])
    command = [sys.executable, "-m", "harness", "dump", str(path)]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "bad.sys+0x1234" in shown
    assert "\x1b" not in shown
    printed = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    document = json.loads(printed)
    assert document == json.loads(json.dumps(summary_document(summarise(path))))
    assert {"type", "arch", "system", "bugcheck", "exception", "registers", "fault"} <= set(document)
    assert {"modules", "stack", "truncated", "warnings"} <= set(document)


def test_names_from_a_dump_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    data = LAYOUTS["full"].replace(
        "bad.sys".encode("utf-16-le"), "b\x1b[2Jx".encode("utf-16-le") + b"\0\0\0\0"
    )
    done = subprocess.run(
        [sys.executable, "-m", "harness", "dump", str(writer.write(tmp_path, data))],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert b"\x1b" not in done.stdout


def test_variants_share_a_meaning_and_unknown_codes_have_none() -> None:
    assert lookup(0x1000007E).name == "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED_M"
    assert lookup(0x1000007E).meaning == lookup(0x7E).meaning
    assert lookup(0x100000D1).name == "DRIVER_IRQL_NOT_LESS_OR_EQUAL_M"
    assert lookup(0x10004321).name == "UNKNOWN"
    assert "0x4321" in explanation(0x4321, (1, 2, 3, 4))
    assert "(write)" in explanation(0x50, (0x10, 2, 0, 0))


@pytest.mark.parametrize(
    ("code", "call"),
    [
        ("0000e801020304", True),  # call rel32
        ("00000000 00ffd0", True),  # call rax
        ("00000000 ff5010", True),  # call [rax+10h]
        ("00ff1501020304", True),  # call [rip+...]
        ("0000 0041ff5208", True),  # call [r10+8]
        ("ff942401020304", True),  # call [rsp+...]
        ("00000000 0089c3", False),
        ("00000000 00ff10", True),  # call [rax]
        ("00000000 ff1500", False),  # call [rip+...] would be longer
    ],
)
def test_calls_are_distinguished_from_other_code(code: str, call: bool) -> None:
    assert follows_call(bytes.fromhex(code)) is call


@pytest.mark.parametrize("kind", ["triage", "bitmap", "minidump"])
def test_golden_page(kind: str, tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    data = {
        "triage": writer.triage(),
        "bitmap": LAYOUTS["bitmap-full"],
        "minidump": writer.minidump(0x180000000, 0x5000, 1, 0x1234),
    }[kind]
    summary = summarise(writer.write(tmp_path, data))
    golden(f"dumps/{kind}.txt", "".join(f"{click.unstyle(line)}\n" for line in page(summary)))
    golden(f"dumps/{kind}.json", json.dumps(summary_document(summary), indent=1) + "\n")

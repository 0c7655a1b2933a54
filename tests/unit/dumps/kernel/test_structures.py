"""What a dump's kernel structures tell, with and without the kernel's PDB."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import click
import pytest

from harness.dumps.facts import DOCUMENTED
from harness.dumps.formats.reader import summarise
from harness.dumps.kernel.irp import function_name
from harness.dumps.kernel.nt_pdb import NtPdb
from harness.dumps.summary import Found, Summary, summary_document
from harness.dumps.symbol_path import SymbolPath
from harness.dumps.text import page
from tests.fakes import dump_writer as writer
from tests.fakes import emulated_crash
from tests.fakes import kernel_structures as fake

POWER = (3, fake.LOWER, 0, fake.IRP)
"""Parameters of 0x9F: a device held this IRP too long."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> fake.Built:
    return fake.build(tmp_path_factory.mktemp("nt"))


def read(folder: Path, data: bytes, symbols: Path | None = None) -> Summary:
    path = SymbolPath("", folders=[symbols]) if symbols else None
    return summarise(writer.write(folder, data), pdbs=path.pdb if path else None)


def said(summary: Summary) -> str:
    json.dumps(summary_document(summary))
    return "\n".join(click.unstyle(line) for line in page(summary))


def test_the_irp_that_a_driver_held_too_long(tmp_path: Path) -> None:
    found = read(tmp_path, fake.dump(fake.crashed(), 0x9F, *POWER))
    (irp,) = found.facts.irps
    assert (irp.address, irp.status, irp.count, irp.current) == (fake.IRP, 0xC00000BB, 3, 2)
    assert (irp.thread, irp.layout) == (fake.FIRST, DOCUMENTED)
    assert [(one.number, one.current, one.function, one.device, one.driver) for one in irp.locations] == [
        (2, True, "IRP_MJ_POWER, IRP_MN_SET_POWER", fake.LOWER, "\\Driver\\bad"),
        (3, False, "IRP_MJ_POWER, IRP_MN_SET_POWER", fake.UPPER, "\\Driver\\upper"),
    ]
    assert irp.locations[0].completion == fake.COMPLETION
    text = said(found)
    assert (
        f"IRP {fake.IRP:#x}, stack location 2 of 3, status STATUS_NOT_SUPPORTED  (documented layout)" in text
    )
    assert f"  >  2 IRP_MJ_POWER, IRP_MN_SET_POWER device {fake.LOWER:#x} \\Driver\\bad" in text
    assert (
        "not known   the threads that wait, KiBugCheckDriver, names of device objects: needs nt symbols"
        in text
    )


def test_with_the_kernels_pdb_names_and_waiting_threads_are_told(built: fake.Built, tmp_path: Path) -> None:
    found = read(tmp_path, fake.dump(fake.crashed(built), 0x9F, *POWER), built.folder)
    assert found.facts.needs_symbols == ()
    assert found.facts.driver == "blamed.sys"
    assert [one.device_name for one in found.facts.irps[0].locations] == ["\\Device\\Bad0", ""]
    (thread,) = found.threads
    assert (thread.thread_id, thread.name) == (fake.FIRST, "System")
    assert [(frame.place.module, frame.found) for frame in thread.stack] == [
        ("ntoskrnl.exe", Found.REGISTERS),
        ("bad.sys", Found.UNWOUND),
    ]
    text = said(found)
    assert "driver      blamed.sys  (named by the kernel)" in text
    assert "\\Driver\\bad \\Device\\Bad0" in text
    assert f"thread {fake.FIRST:#x} of System" in text


def test_another_builds_pdb_is_not_used(built: fake.Built, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    pdb = bytearray((built.folder / "ntkrnlmp.pdb").read_bytes())
    image = built.image
    at = image.index(b"RSDS") + 4
    pdb = pdb.replace(image[at : at + 16], bytes(16))
    (other / "ntkrnlmp.pdb").write_bytes(pdb)
    found = read(tmp_path, fake.dump(fake.crashed(built), 0x9F, *POWER), other)
    assert "KiBugCheckDriver" in found.facts.needs_symbols
    assert found.threads == ()


def test_a_thread_that_a_parameter_names_is_scanned_without_symbols(
    tmp_path: Path, built: fake.Built
) -> None:
    made = fake.crashed(built)
    fake.poke(made, writer.KDBG + 0x29C, struct.pack("<H", 0x20))  # KernelStack's offset, as KDBG tells
    found = read(tmp_path, fake.dump(made, 0x9F, 4, 300, fake.FIRST, 0))
    (thread,) = found.threads
    assert thread.thread_id == fake.FIRST
    assert thread.stack[0].found is Found.SCAN
    assert any(frame.place.module == "bad.sys" for frame in thread.stack)
    assert "unwound stacks of threads that do not run" in found.facts.needs_symbols


@pytest.mark.parametrize(
    ("spoil", "at"),
    [(b"\x07", 0), (b"\0\0", 0x42), (b"\x7f\x02", 0x42)],
    ids=["another type", "no locations", "too many"],
)
def test_what_is_no_irp_any_more_is_not_shown(spoil: bytes, at: int, tmp_path: Path) -> None:
    made = fake.crashed()
    fake.poke(made, fake.IRP + at, spoil)
    assert read(tmp_path, fake.dump(made, 0x9F, *POWER)).facts.irps == ()


def test_the_pool_block_of_an_address_by_the_headers_of_its_page(tmp_path: Path) -> None:
    found = read(tmp_path, fake.dump(fake.crashed(), 0x50, fake.POOL + 0x123, 0, 0, 0))
    (block,) = found.facts.pool
    assert (block.start, block.size, block.tag) == (fake.IRP, 0x2F0, "Irp ")
    assert block.walked
    assert block.allocated
    assert "lies in a block of 752 bytes" in said(found)
    freed = read(tmp_path, fake.dump(fake.crashed(), 0x50, fake.POOL + 0x400, 0, 0, 0)).facts.pool[0]
    assert (freed.tag, freed.allocated, freed.start) == ("Free", False, fake.POOL + 0x350)


def test_a_page_whose_headers_disagree_gives_a_guess_or_nothing(tmp_path: Path) -> None:
    made = fake.crashed()
    fake.poke(made, fake.POOL + 0x340, b"\x07")  # another previous size
    (block,) = read(tmp_path, fake.dump(made, 0x50, fake.IRP, 0, 0, 0)).facts.pool
    assert (block.walked, block.start, block.tag) == (False, fake.IRP, "Irp ")
    assert "a guess" in said(read(tmp_path, fake.dump(made, 0x50, fake.IRP, 0, 0, 0)))
    assert read(tmp_path, fake.dump(made, 0x50, fake.POOL + 0x123, 0, 0, 0)).facts.pool == ()


def test_debug_output_is_recovered_from_its_ring(tmp_path: Path) -> None:
    found = read(tmp_path, fake.dump(fake.crashed(), 0xE2, 0, 0, 0, 0))
    assert found.facts.debug_output == ("older line", "bad: about to fail", "bad: \x1b[31mfailing")
    text = said(found)
    assert "debug output, the last 3 lines\n  older line\n  bad: about to fail\n" in text
    assert "\\x1b[31mfailing" in text


def test_a_ring_that_never_wrapped_and_one_that_makes_no_sense(tmp_path: Path) -> None:
    made = fake.crashed()
    fake.poke(made, fake.RING + 0x200C, bytes(4))  # it has not rolled over
    told = read(tmp_path, fake.dump(made, 0xE2, 0, 0, 0, 0)).facts.debug_output
    assert told == ("bad: about to fail", "bad: \x1b[31mfailing")
    for at, value in ((0x2008, 0xFFFFFFFF), (0x2010, fake.RING - 8), (0x2000, 0)):
        wrong = fake.crashed()
        fake.poke(wrong, fake.RING + at, struct.pack("<Q", value))
        assert read(tmp_path, fake.dump(wrong, 0xE2, 0, 0, 0, 0)).facts.debug_output == ()


RULE = "The driver should hold the lock."
HELD = {
    "unicode string": struct.pack("<HH4xQ", 2 * len(RULE), 128, fake.IRP + 0x20).ljust(32, b"\0")
    + RULE.encode("utf-16-le"),
    "wide": RULE.encode("utf-16-le") + b"\0\0\xff\xff",
    "narrow": RULE.encode() + b"\0\xff",
}


@pytest.mark.parametrize("form", HELD)
def test_the_text_that_a_parameter_points_to_is_shown(form: str, tmp_path: Path) -> None:
    made = fake.crashed()
    fake.poke(made, fake.IRP, HELD[form])
    found = read(tmp_path, fake.dump(made, 0xC4, 0x20003, fake.IRP, 0, 0))
    assert [(one.parameter, one.text) for one in found.facts.texts] == [(2, RULE)]
    assert f"text        parameter 2 leads to '{RULE}'" in said(found)
    assert summary_document(found)["kernel"]["texts"] == [{"parameter": 2, "text": RULE}]


@pytest.mark.parametrize(
    "held", [b"\xff" * 64, b"a\x1b[31mred\0", b"ab\0", bytes(64), b"\x02\0\x04\0" + b"\xff" * 12]
)
def test_what_is_no_text_is_not_shown(held: bytes, tmp_path: Path) -> None:
    made = fake.crashed()
    fake.poke(made, fake.IRP, held)
    assert read(tmp_path, fake.dump(made, 0xC4, 0x20003, fake.IRP, 0, 0)).facts.texts == ()


def blob(tag: bytes, data: bytes) -> bytes:
    return struct.pack("<I16sIII", 32, tag, len(data), 4, 3) + bytes(4) + data + bytes(3)


def test_data_that_drivers_added_is_listed_and_its_text_shown(tmp_path: Path) -> None:
    tag = bytes(range(16))
    data = b"DumpBlob" + struct.pack("<II", 16, 1)
    data += blob(tag, b"first line\nsecond \x1b line\n") + blob(tag, b"\1\2\3\xffnamed-thing\0\xfe\xff\1" * 3)
    data += (
        blob(tag, "wide text here".encode("utf-16-le")) + blob(tag, b"") + blob(tag, bytes(range(200, 240)))
    )
    found = read(tmp_path, writer.triage() + data)
    assert [(one.size, one.text, one.whole) for one in found.facts.secondary] == [
        (25, "first line\nsecond \x1b line\n", True),
        (57, "named-thing", False),
        (28, "wide text here", True),
        (40, "", False),
    ]
    text = said(found)
    assert "03020100-0504-0706-0809-0a0b0c0d0e0f  25 bytes" in text
    assert "    second \\x1b line" in text
    assert "data that drivers added, 4 blocks, 150 bytes" in text


def test_the_broken_driver_of_a_small_dump(tmp_path: Path) -> None:
    data = bytearray(writer.triage())
    struct.pack_into("<I", data, 0x2040, 0x2900)
    struct.pack_into("<I", data, 0x2900, 7)
    data[0x2904 : 0x2904 + 14] = "bad.sys".encode("utf-16-le")
    assert read(tmp_path, bytes(data)).facts.driver == "bad.sys"


def test_the_real_small_dump(samples: Path) -> None:
    found = summarise(samples / "triage_x64.dmp")
    assert len(found.facts.secondary) == 18
    texts = {one.tag: one.text for one in found.facts.secondary}
    assert texts["f87e4a4c-c5a1-4d2f-bff0-d5de63a5e4c3"].startswith("Wdf01000; acpiex; intelpep")
    assert texts["da82441d-7142-4bc1-b844-0807c5a4b67f"] == "storport.sys"
    known = {one.tag: one.what for one in found.facts.secondary}
    assert known["54c84888-01d1-4c1e-bed6-282c98241303"] == "log of a KMDF driver"
    assert known["4ee76bd8-3cf4-44a0-a0ac-3937643e37a3"] == "code integrity"
    assert known["10ec8168-313c-488c-afea-272cd2094616"] == ""
    assert "54c84888-01d1-4c1e-bed6-282c98241303  4096 bytes, log of a KMDF driver, with text:" in said(found)


def test_members_variables_and_sizes_are_those_of_the_pdb(built: fake.Built) -> None:
    pdb = NtPdb(built.folder / "ntkrnlmp.pdb")
    assert pdb.members("_KSWITCH_FRAME") == {"Home": 0, "Rbp": 24, "Return": 32}
    assert (pdb.size("_KSWITCH_FRAME"), pdb.member("_EPROCESS", "ThreadListHead")) == (40, 48)
    assert pdb.variable("KiBugCheckDriver") == built.exports["KiBugCheckDriver"]
    large = pdb.members("_LARGE")
    assert large
    assert (len(large), large["Last"], large["End"]) == (1403, 8 * 1400, 8 * 1401 + 0x9000)
    assert pdb.size("_LARGE") == 8 * 1401 + 0x9008
    assert (pdb.members("_ABSENT"), pdb.variable("Absent"), pdb.size("_ABSENT")) == (None, None, None)


def test_a_damaged_pdb_tells_nothing_and_never_fails(built: fake.Built, tmp_path: Path) -> None:
    whole = (built.folder / "ntkrnlmp.pdb").read_bytes()
    for size in (0, 40, 56, 4096, len(whole) // 2, len(whole) - 4096):
        (tmp_path / "cut.pdb").write_bytes(whole[:size])
        assert NtPdb(tmp_path / "cut.pdb").members("_KTHREAD") is None
    for step in range(0, len(whole), 97):
        spoiled = bytearray(whole)
        spoiled[step] ^= 0xFF
        (tmp_path / "spoiled.pdb").write_bytes(spoiled)
        pdb = NtPdb(tmp_path / "spoiled.pdb")
        for name in ("_EPROCESS", "_LARGE"):
            pdb.members(name)
        pdb.variable("KiBugCheckDriver")


@pytest.mark.parametrize(
    ("major", "minor", "name"),
    [
        (0x0E, 0, "IRP_MJ_DEVICE_CONTROL"),
        (0x1B, 2, "IRP_MJ_PNP, IRP_MN_REMOVE_DEVICE"),
        (0x1B, 0x50, "IRP_MJ_PNP, minor function 0x50"),
        (0x16, 3, "IRP_MJ_POWER, IRP_MN_QUERY_POWER"),
        (0x60, 1, "major function 0x60"),
    ],
)
def test_names_of_functions(major: int, minor: int, name: str) -> None:
    assert function_name(major, minor) == name


def test_symbols_that_are_there_are_not_asked_for(tmp_path: Path) -> None:
    """A PDB of public symbols alone names the frames; it has neither this variable nor types."""
    pytest.importorskip("unicorn")
    built = emulated_crash.build(tmp_path, 4)
    crashed = emulated_crash.Run(built).crash(60)
    assert crashed
    dump = emulated_crash.write_dump(tmp_path, built, crashed)
    assert summarise(dump).facts.needs_symbols == ("KiBugCheckDriver",)
    path = SymbolPath("", folders=[tmp_path])
    assert summarise(dump, pdbs=path.pdb).facts.needs_symbols == ()

"""The place of an exception that left no dump, such as a fast-fail under Wine."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from harness.crash.analysis import Circumstances, analyse
from harness.crash.reported_place import reported_place
from harness.journal import Journal
from harness.outcome import KernelCrash
from harness.project import config
from harness.toolchain.builds import build_drivers

SOURCE = """#include <ntifs.h>
__attribute__((noinline)) static VOID Stop(VOID) {
    __asm__ volatile("mov $2, %%ecx\\n\\tint $0x29" ::: "ecx");
}
NTSTATUS NTAPI DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING p) {
    (void)d; (void)p; Stop();
    return STATUS_SUCCESS;
}
"""
BASE = 0x7FFFFF300000
TEXT = "00c8:00dc:err:seh:NtRaiseException Unhandled exception code c0000409 flags 1 addr 0x7fffff301000"


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    (folder / "t.c").write_text(SOURCE)
    (folder / "winvm.toml").write_text('[driver]\nname = "t"\nsources = ["t.c"]\n')
    return build_drivers(config.load(folder / "winvm.toml"), None, Journal())["release"]


def offset_of(driver: Path, code: bytes) -> int:
    """Offset from the image base of the only place with this code."""
    image = driver.read_bytes()
    (at,) = struct.unpack_from("<I", image, 0x3C)
    (count, optional) = struct.unpack_from("<H12xH", image, at + 6)
    found = image.index(code)
    for number in range(count):
        address, size, offset = struct.unpack_from("<III", image, at + 24 + optional + 40 * number + 12)
        if offset <= found < offset + size:
            return int(address) + found - int(offset)
    raise AssertionError("the code is in no section")


def crash_at(address: int, *notes: str) -> KernelCrash:
    loaded = notes or (rf"C:\other.sys at {BASE - 0x100000:#x}", rf"C:\winvm\run\T.SYS at {BASE:#x}")
    return KernelCrash(
        "exception", 0xC0000409, (0xC0000409, address, 0, 0), time=0.0, text=TEXT, notes=loaded
    )


def test_a_fast_fail_names_its_function_and_line(driver: Path, tmp_path: Path) -> None:
    crash = crash_at(BASE + offset_of(driver, b"\xcd\x29"))
    document = analyse(crash, Circumstances("s", "t.sys", image=driver), tmp_path, None)
    assert document["likely_cause"].startswith("t.sys, Stop (")
    assert "t.c:3), ended the system with a fast-fail" in document["likely_cause"]
    assert document["fault"]["frames"][0]["line"] == 3
    assert document["signature"] == "c0000409-t.sys-Stop"


def test_an_address_elsewhere_has_no_place(driver: Path, tmp_path: Path) -> None:
    crash = crash_at(BASE + offset_of(driver, b"\xcd\x29"))
    assert reported_place(crash, driver) is not None
    assert reported_place(crash_at(BASE - 8), driver) is None
    assert reported_place(crash_at(BASE + 0x100000), driver) is None
    assert reported_place(crash_at(BASE + 0x10), driver) is None, "headers are no code"
    assert reported_place(replace(crash, notes=("t.sys at nowhere",)), driver) is None
    assert reported_place(replace(crash, kind="bugcheck"), driver) is None
    assert reported_place(crash, tmp_path / "none.sys") is None


def test_without_its_pdb_the_offset_remains(driver: Path, tmp_path: Path) -> None:
    alone = tmp_path / "t.sys"
    alone.write_bytes(driver.read_bytes())
    offset = offset_of(driver, b"\xcd\x29")
    place = reported_place(crash_at(BASE + offset), alone)
    assert place is not None
    assert (place.module, place.offset, place.frames) == ("t.sys", offset, ())


def test_a_minidump_without_its_exception_takes_the_reported_place(driver: Path, tmp_path: Path) -> None:
    """What wrote it stopped: the directory has eight entries, of which one is filled."""
    system = struct.pack("<HHHBBIIIIIHH", 9, 6, 0, 1, 1, 10, 0, 19045, 2, 0, 0, 0).ljust(56, b"\0")
    header = struct.pack("<4sIIIIIQ", b"MDMP", 0xA793, 8, 32, 0, 0, 0)
    directory = struct.pack("<III", 7, len(system), 128).ljust(96, b"\0")
    (tmp_path / "minidump.dmp").write_bytes(header + directory + system)
    crash = crash_at(BASE + offset_of(driver, b"\xcd\x29"))
    document = analyse(crash, Circumstances("s", "t.sys", image=driver), tmp_path, None)
    assert document["signature"] == "c0000409-t.sys-Stop"
    assert "There is no exception in this dump." in document["warnings"]
    assert document["fault"]["frames"][0]["line"] == 3


def test_the_stack_of_a_guards_bugcheck_is_named(driver: Path, tmp_path: Path) -> None:
    inner, foreign = BASE + offset_of(driver, b"\xcd\x29"), BASE - 0x5000
    crash = replace(
        crash_at(0),
        kind="bugcheck",
        code=0xC4,
        parameters=(0x13, 0, 0x1000, 0),
        stack=(inner, inner, foreign),
    )
    document = analyse(crash, Circumstances("t.stops", "t.sys", image=driver), tmp_path, driver.parent)
    assert document["signature"] == "c4-t.sys-Stop"
    assert [frame["frames"][0]["function"] for frame in document["stack"]] == ["Stop"]
    assert document["fault"]["frames"][0]["line"] == 3

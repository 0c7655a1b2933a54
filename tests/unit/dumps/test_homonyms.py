"""Functions of one name in several sources: drivers built here, their PDBs, and the signatures of crashes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from harness.dumps.homonyms import sources_of
from harness.dumps.signature import dump_signature, recurs, source_name, without_source
from harness.dumps.summary import Frame, Place
from harness.dumps.symbols import symbolise
from tests.unit.dumps.test_symbols import OPTIONS, crash_of

HEX = re.compile("[0-9a-f]{8}")
HEADER = """\
static inline __attribute__((always_inline)) void Touch(volatile int *Where) { *Where = 3; }
"""
SOURCE = """\
#include "touch.h"
static __attribute__((noinline)) void Read(volatile int *Where) { *Where = NUMBER; }
static inline __attribute__((always_inline)) void Poke(volatile int *Where) { *Where = NUMBER + 7; }
__attribute__((noinline)) void NAME(Own)(volatile int *Where)
{
    Poke(Where);
}
__attribute__((noinline)) void NAME(Header)(volatile int *Where)
{
    Touch(Where);
}
__attribute__((noinline)) void NAME(Call)(volatile int *Where)
{
    Read(Where);
}
"""
ENTRY = """\
void FirstOwn(volatile int *), SecondOwn(volatile int *);
void FirstHeader(volatile int *), SecondHeader(volatile int *);
void FirstCall(volatile int *), SecondCall(volatile int *);
long DriverEntry(void *Driver, void *Path)
{
    (void)Path;
    FirstOwn(Driver); SecondOwn(Driver); FirstHeader(Driver); SecondHeader(Driver);
    FirstCall(Driver); SecondCall(Driver);
    return 0;
}
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """A driver of two sources with the same static functions; offsets by name, in the sources' order."""
    folder = tmp_path_factory.mktemp("driver")
    (folder / "touch.h").write_text(HEADER)
    (folder / "entry.c").write_text(ENTRY)
    objects = []
    for number, (source, prefix) in enumerate((("async", "First"), ("lyshark", "Second")), 1):
        (folder / f"{source}.c").write_text(SOURCE)
        defines = [f"-DNUMBER={number}", f"-DNAME(x)={prefix}##x"]
        command = ["clang-19", *OPTIONS, *defines, f"{source}.c", "-o", f"{source}.o"]
        subprocess.run(command, cwd=folder, check=True)
        objects.append(f"{source}.o")
    subprocess.run(["clang-19", *OPTIONS, "entry.c", "-o", "entry.o"], cwd=folder, check=True)
    link = ["/driver", "/subsystem:native", "/entry:DriverEntry", "/nodefaultlib", "/debug", "/opt:noicf"]
    command = ["lld-link-19", *link, "/lldmap:tiny.map", "/out:tiny.sys", "entry.o", *objects]
    subprocess.run(command, cwd=folder, check=True)
    offsets: dict[str, list[int]] = {}
    for line in (folder / "tiny.map").read_text().splitlines():
        words = line.split()
        if len(words) == 4 and words[-1].isidentifier() and HEX.fullmatch(words[0]):
            offsets.setdefault(words[-1], []).append(int(words[0], 16))
    return folder / "tiny.sys", offsets


def signature_at(driver: Path, offset: int, folder: Path) -> str:
    return dump_signature(symbolise(crash_of(driver, offset, folder), driver.parent))


def test_static_functions_of_one_name_have_signatures_of_their_own(
    driver: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    image, offsets = driver
    found = [signature_at(image, offset, tmp_path) for offset in offsets["Read"]]
    assert found == ["c0000005-tiny.sys-Read-async.c", "c0000005-tiny.sys-Read-lyshark.c"]


def test_so_have_functions_that_exist_only_inlined(
    driver: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    image, offsets = driver
    found = [signature_at(image, offsets[name][0], tmp_path) for name in ("FirstOwn", "SecondOwn")]
    assert found == ["c0000005-tiny.sys-Poke-async.c", "c0000005-tiny.sys-Poke-lyshark.c"]


def test_a_name_that_is_there_once_stays_as_it_is(
    driver: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    image, offsets = driver
    entry = signature_at(image, offsets["DriverEntry"][0], tmp_path)
    assert entry == "c0000005-tiny.sys-DriverEntry"
    headers = {signature_at(image, offsets[name][0], tmp_path) for name in ("FirstHeader", "SecondHeader")}
    assert headers == {"c0000005-tiny.sys-Touch"}


def test_a_damaged_pdb_costs_a_warning_at_most(
    driver: tuple[Path, dict[str, list[int]]], tmp_path: Path
) -> None:
    image, offsets = driver
    (tmp_path / "tiny.sys").write_bytes(image.read_bytes())
    pdb = image.with_suffix(".pdb").read_bytes()
    (tmp_path / "tiny.pdb").write_bytes(pdb[: len(pdb) // 2])
    summary = symbolise(crash_of(image, offsets["Read"][0], tmp_path), tmp_path)
    assert dump_signature(summary).startswith("c0000005-tiny.sys")


def test_objects_and_sources_are_compared_by_their_names() -> None:
    lines = [
        r"Mod 0000 | `CMakeFiles\drv.dir\async.c.obj`:",
        "  0x1003 |    12 | D:\\drv\\async.c (MD5: 00)",
        "  0x1003 | LF_FUNC_ID [size = 20]",
        "           name = Read, type = 0x1001, parent scope = <no type>",
        "    12408 | S_LPROCREF [size = 20] `Read`",
        "           module = 1, sum name = 0, offset = 1144",
    ]
    assert sources_of("Read", lines) == {"async"}
    assert sources_of("Write", lines) == frozenset()
    other = [
        *lines,
        "    12408 | S_LPROCREF [size = 20] `Read`",
        "           module = 7, sum name = 0, offset = 4",
    ]
    assert len(sources_of("Read", other)) == 2


def test_a_crash_known_without_its_source_recurs_with_it() -> None:
    plain, own = "c0000005-a.sys-Read", "c0000005-a.sys-Read-async.c"
    assert recurs(own, own)
    assert recurs(plain, own)
    assert not recurs(own, plain)
    assert not recurs(own, "c0000005-a.sys-Read-sync.c")
    assert without_source(own) == without_source(plain) == plain


def test_the_source_of_a_place_is_its_base_name() -> None:
    frames = (Frame("__movsb", "/usr/include/intrin.h"), Frame("Read", r"C:\drv\my async-1.c", 3))
    assert source_name(Place(1, "a.sys", 1, frames)) == "my_async_1.c"
    assert source_name(Place(1, "a.sys", 1)) == source_name(None) == ""

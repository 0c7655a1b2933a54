"""The same sources give the same driver and PDB, whatever the folder, the time and the signature."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pefile
import pytest

from harness.project.scaffold import write_driver
from harness.toolchain.clang.compiler import compile_driver
from harness.toolchain.clang.sources import folder_sources, listed_sources
from harness.toolchain.identity import code_digest
from harness.toolchain.sign import TestCertificate, sign
from tests.unit.toolchain.clang.wdk_code import ONE_FILE

SYMBOLIZER = "llvm-symbolizer-19"
HEADER = (
    "static __inline int __attribute__((noinline)) twice(int n) { return n + __LINE__ + sizeof(__FILE__); }\n"
)


def project(folder: Path) -> Path:
    """A project of two files and a header of its own, in a folder in which a build finds it."""
    name, text = ONE_FILE["alloc_text"]
    (folder / "src").mkdir(parents=True)
    (folder / "inc").mkdir()
    (folder / "inc" / "twice.h").write_text(HEADER)
    (folder / "src" / name).write_text(text)
    (folder / "src" / "more.c").write_text(
        '#include "../inc/twice.h"\nint More(int n) { return twice(n); }\n'
    )
    return folder


def compiled(folder: Path, out: Path) -> Path:
    sources = listed_sources(folder, folder_sources(folder), "release")
    return compile_driver(sources, "t", folder, out).driver


def set_back(folder: Path) -> None:
    """Gives every file a time of years ago."""
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))


def test_listed_sources_give_equal_files_in_two_folders_at_two_times(tmp_path: Path) -> None:
    one = compiled(project(tmp_path / "one"), tmp_path / "one" / "out")
    other = project(tmp_path / "deep er" / "\u4e2d\u6587" / "other")
    set_back(other)
    two = compiled(other, tmp_path / "elsewhere")
    assert one.read_bytes() == two.read_bytes()
    assert one.with_suffix(".pdb").read_bytes() == two.with_suffix(".pdb").read_bytes()
    assert os.fsencode(tmp_path) not in one.read_bytes() + one.with_suffix(".pdb").read_bytes()


def test_a_new_driver_gives_equal_files_in_two_folders_at_two_times(tmp_path: Path) -> None:
    made = []
    for number, place in enumerate(["one", "deep er/other"]):
        folder = tmp_path / place / "pend"
        write_driver(folder, "pend")
        if number:
            set_back(folder)
        done = subprocess.run(["make", "BUILD=release"], cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        made.append(folder / "build" / "release" / "pend.sys")
    assert made[0].read_bytes() == made[1].read_bytes()
    assert made[0].with_suffix(".pdb").read_bytes() == made[1].with_suffix(".pdb").read_bytes()


@pytest.mark.parametrize("kind", ["template", "listed"])
def test_debug_information_names_sources_from_the_project_s_folder(tmp_path: Path, kind: str) -> None:
    """A debugger finds them there: `.srcpath FOLDER`, or the folder it was started in."""
    if kind == "template":
        folder = tmp_path / "pend"
        write_driver(folder, "pend")
        subprocess.run(["make", "BUILD=release"], cwd=folder, capture_output=True, check=True)
        driver = folder / "build" / "release" / "pend.sys"
    else:
        folder = project(tmp_path / "listed")
        driver = compiled(folder, folder / "out")
    with pefile.PE(str(driver)) as image:
        entry = image.OPTIONAL_HEADER.ImageBase + image.OPTIONAL_HEADER.AddressOfEntryPoint
    done = subprocess.run(
        [SYMBOLIZER, f"--obj={driver}", "--no-inlines", hex(entry)],
        capture_output=True,
        text=True,
        check=True,
    )
    # lld writes names that begin in no absolute folder with backslashes, as Windows debuggers expect them.
    source = done.stdout.splitlines()[1].rpartition(":")[0].rpartition(":")[0]
    assert (folder / source.replace("\\", "/")).is_file(), done.stdout


def signed(driver: Path, folder: Path) -> Path:
    folder.mkdir()
    copy = Path(shutil.copy(driver, folder))
    sign(copy, TestCertificate.ensure(folder / "certificate"))
    return copy


def test_a_build_that_is_signed_again_has_the_same_code(tmp_path: Path) -> None:
    driver = compiled(project(tmp_path / "p"), tmp_path / "out")
    one, two = signed(driver, tmp_path / "one"), signed(driver, tmp_path / "two")
    assert one.read_bytes() != two.read_bytes()
    assert code_digest(one) == code_digest(two) == code_digest(driver)


def test_build_times_and_the_pdb_s_identity_do_not_count(tmp_path: Path) -> None:
    driver = compiled(project(tmp_path / "p"), tmp_path / "out")
    before = code_digest(driver)
    content = bytearray(driver.read_bytes())
    header = struct.unpack_from("<I", content, 0x3C)[0]
    content[header + 8 : header + 12] = b"time"
    record = content.index(b"RSDS")
    content[record + 4 : record + 20] = b"another GUID...."
    driver.write_bytes(content)
    assert code_digest(driver) == before


def test_another_instruction_is_another_code(tmp_path: Path) -> None:
    folder = project(tmp_path / "p")
    before = code_digest(compiled(folder, tmp_path / "out"))
    more = folder / "src" / "more.c"
    more.write_text(more.read_text().replace("twice(n)", "twice(n) + 1"))
    os.utime(more, (2e9, 2e9))
    assert code_digest(compiled(folder, tmp_path / "out")) != before


@pytest.mark.parametrize(
    "content", [b"", b"MZ", b"not a driver", b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + bytes(300)]
)
def test_any_file_has_a_digest(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.sys").write_bytes(content)
    assert len(code_digest(tmp_path / "x.sys")) == 64

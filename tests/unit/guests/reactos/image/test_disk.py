"""The guest's disk: its boot sectors, and the files in its partition as mtools reads them."""

from __future__ import annotations

import shutil
import stat
import struct
import subprocess
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.reactos.image import disk
from harness.offline.partitions import partitions

SOURCE = Path(__file__).parents[5] / "vm" / "reactos" / "boot.S"
SECTORS = (disk.SIZE_MIB << 20) // disk.SECTOR


def test_the_boot_code_is_the_assembled_source(tmp_path: Path) -> None:
    objects, binary = tmp_path / "boot.o", tmp_path / "boot.bin"
    subprocess.run(["clang-19", "--target=i386-none-elf", "-c", str(SOURCE), "-o", str(objects)], check=True)
    link = ["ld.lld-19", "-m", "elf_i386", "-Ttext=0x7c00", "--oformat=binary"]
    subprocess.run([*link, str(objects), "-o", str(binary)], check=True)
    assert binary.read_bytes() == disk.BOOT_CODE.ljust(disk.LEFT + 2, b"\0")


def test_the_boot_sectors_name_one_partition_and_the_loader() -> None:
    loader = bytes(range(256)) * 5
    made = disk.boot_sectors(loader, SECTORS)
    (found,) = partitions(made, SECTORS * disk.SECTOR)
    assert (found.offset, found.size) == (disk.START * disk.SECTOR, (SECTORS - disk.START) * disk.SECTOR)
    assert struct.unpack_from("<H", made, disk.LEFT) == (3,)
    assert made[disk.SECTOR :] == loader


@pytest.mark.parametrize("size", [0, (disk.START - 1) * disk.SECTOR + 1])
def test_a_loader_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ImageError, match=f"has {size} bytes"):
        disk.boot_sectors(bytes(size), SECTORS)


@pytest.mark.skipif(not shutil.which("mformat"), reason="mtools is not installed")
def test_a_folder_becomes_a_disk(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    names = ("loader/freeldr.sys", "reactos/system32/A driver with a long name.sys", "winvm/run/empty")
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(name.encode() * 100)
    made = tmp_path / "base.qcow2"
    disk.write_disk(tree, made, Deadline.after(120))
    assert stat.S_IMODE(made.stat().st_mode) == 0o400
    assert sorted(tmp_path.iterdir()) == [made, tree]
    raw = tmp_path / "again.raw"
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(made), str(raw)], check=True)
    for name in names:
        read = ["mtype", "-i", f"{raw}@@{disk.START * disk.SECTOR}", f"::/{name}"]
        assert subprocess.run(read, capture_output=True, check=True).stdout == name.encode() * 100
    ini = subprocess.run([*read[:-1], "::/freeldr.ini"], capture_output=True, check=True).stdout
    assert b"/DEBUG /DEBUGPORT=COM1" in ini
    assert ini.count(b"\n") == ini.count(b"\r\n")

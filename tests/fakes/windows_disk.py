"""Makes disks as a powered-off Windows guest leaves them: partitions, NTFS, a SYSTEM hive, planted files."""

from __future__ import annotations

import struct
import subprocess
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

MIB = 1 << 20
START = MIB
SECTOR = 512
DATA = uuid.UUID("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7")
"""GPT type of a Windows basic data partition."""

SERVICES = r"""Windows Registry Editor Version 5.00

[\Select]
"Current"=dword:00000002

[\ControlSet001]

[\ControlSet001\Services]

[\ControlSet001\Services\mydriver]
"Start"=dword:00000003

[\ControlSet002]

[\ControlSet002\Services]

[\ControlSet002\Services\mydriver]
"ImagePath"=hex(2):5c,00,78,00,00,00
"Start"=dword:00000001
"Type"=dword:00000001

[\ControlSet002\Services\mydriver\Parameters]
"Start"=dword:00000007
"""
"""Control set 2 boots; the key below the driver's has a value of the same name."""


def needs_fuse() -> pytest.MarkDecorator:
    """Skips by name where the kernel has no FUSE."""
    return pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="needs /dev/fuse")


def system_hive(file: Path) -> None:
    """A SYSTEM hive with `SERVICES`: an empty one by the format's layout, filled by hivex."""
    file.write_bytes(_empty_hive())
    subprocess.run(["hivexregedit", "--merge", str(file)], input=SERVICES.encode(), check=True, timeout=30)


def windows_disk(folder: Path, files: Mapping[str, Path], *, gpt: bool = False, size: int = 64 * MIB) -> Path:
    """A qcow2 disk: a small NTFS partition without Windows, then one with these files (path -> host file)."""
    small, large = folder / "small.ntfs", folder / "large.ntfs"
    _format(small, 8 * MIB, {})
    _format(large, size, files)
    raw, disk = folder / "disk.raw", folder / "disk.qcow2"
    sizes = [small.stat().st_size, large.stat().st_size]
    with raw.open("wb") as file:
        file.truncate(START + sum(sizes) + MIB)
        file.write(_gpt(sizes, START + sum(sizes) + MIB) if gpt else _mbr(sizes))
    at = START
    for volume in (small, large):
        subprocess.run(
            ["dd", f"if={volume}", f"of={raw}", "bs=1M", f"seek={at // MIB}", "conv=notrunc,sparse"],
            check=True,
            capture_output=True,
            timeout=60,
        )
        at += volume.stat().st_size
    convert = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)]
    subprocess.run(convert, check=True, timeout=60)
    return disk


def _format(volume: Path, size: int, files: Mapping[str, Path]) -> None:
    with volume.open("wb") as file:
        file.truncate(size)
    quiet = ["-F", "-Q", "-q", "-s", "512", "-p", "2048", "-H", "255", "-S", "63"]
    subprocess.run(["mkntfs", *quiet, str(volume)], check=True, capture_output=True, timeout=60)
    if not files:
        return
    mounted = volume.with_suffix(".mounted")
    mounted.mkdir()
    subprocess.run(["ntfs-3g", str(volume), str(mounted)], check=True, timeout=60)
    try:
        for name, source in files.items():
            target = mounted / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    finally:
        subprocess.run(["umount", str(mounted)], check=True, timeout=60)


def _mbr(sizes: list[int]) -> bytes:
    entries, at = b"", START
    for size in sizes:
        entries += struct.pack("<B3sB3sII", 0, b"", 7, b"", at // SECTOR, size // SECTOR)
        at += size
    return entries.ljust(64, b"\0").join((bytes(446), b"\x55\xaa"))


def _gpt(sizes: list[int], total: int) -> bytes:
    """Protective MBR, header and entries, without the backup at the disk's end, which nothing here reads."""
    protective = struct.pack("<B3sB3sII", 0, b"", 0xEE, b"", 1, total // SECTOR - 1)
    entries, at = b"", START
    for size in sizes:
        first = at // SECTOR
        last = first + size // SECTOR - 1
        entries += struct.pack("<16s16sQQQ72s", DATA.bytes_le, uuid.uuid4().bytes, first, last, 0, b"")
        at += size
    entries = entries.ljust(128 * 128, b"\0")

    def header(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART", 0x10000, 92, checksum, 0, 1, total // SECTOR - 1, 34, total // SECTOR - 34,
            uuid.uuid4().bytes, 2, 128, 128, zlib.crc32(entries),
        )  # fmt: skip

    return (
        protective.ljust(64, b"\0").join((bytes(446), b"\x55\xaa"))
        + header(zlib.crc32(header(0))).ljust(SECTOR, b"\0")
        + entries
    )


def _empty_hive() -> bytes:
    """A hive of one bin: a root key and the security descriptor that new keys share."""
    name = b"ROOT"
    security = _cell(struct.pack("<2s2xIIII20s", b"sk", 0x20 + 88, 0x20 + 88, 1, 20, b"\1\0\0\x80"))
    absent = 0xFFFFFFFF
    fields = (0, 0, 0, 0, absent, absent, 0, absent, 0x20 + 88, absent, 0, 0, 0, 0, 0)
    root = _cell(struct.pack("<2sHQ15IHH", b"nk", 0x2C, 0, *fields, len(name), 0) + name)
    assert len(root) == 88
    free = 4096 - 32 - len(root) - len(security)
    cells = root + security + struct.pack("<i", free).ljust(free, b"\0")
    block = struct.pack("<4sIIQIIIIIII", b"regf", 1, 1, 0, 1, 3, 0, 1, 0x20, 4096, 1).ljust(508, b"\0")
    checksum = 0
    for (word,) in struct.iter_unpack("<I", block):
        checksum ^= word
    head = (block + struct.pack("<I", checksum)).ljust(4096, b"\0")
    return head + struct.pack("<4sII20x", b"hbin", 0, 4096) + cells


def _cell(data: bytes) -> bytes:
    size = (len(data) + 4 + 7) // 8 * 8
    return struct.pack("<i", -size) + data.ljust(size - 4, b"\0")

"""A ReactOS guest's disk: one FAT32 partition made of a folder, before it the boot loader. No mount, no root.

The first sector is vm/reactos/boot.S. It loads FreeLdr from the sectors behind it, as long as the gap before
the partition is. FreeLdr finds its other half and freeldr.ini in the partition.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import ImageError
from harness.guests.reactos.image.iso import FREELDR, SYSTEM, WHICH
from harness.host import programs

SECTOR = 512
START = 2048
"""First sector of the partition."""
SIZE_MIB = 2048
"""Apparent size of the disk; the file is sparse. What the system does not fill is for the runs."""
HEADS, TRACK = 255, 63
FAT32_LBA, ACTIVE = 0x0C, 0x80
SIGNATURE = 0x4D56_4E49
"""Names the disk: NT tells disks apart by it."""
BOOT_CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfb8816587cbe487cb4428a16587ccd13721d81064e7c00048306507c20832eb67d2077e1"
    "8a16587cb601ea00f80000b8210e31dbcd10f4ebfd8d7400100020000000800f01"
)
"""`vm/reactos/boot.S`, assembled, without the zeros at its end."""
LEFT = 438
"""Where the boot code finds how many sectors FreeLdr has, 16 bits."""
OPTIONS = "/DEBUG /DEBUGPORT=COM1 /BAUDRATE=115200 /FASTDETECT"
BOOT_INI = f"""\
[FREELOADER]
DefaultOS=winvm
TimeOut=0

[Operating Systems]
winvm="winvm"

[winvm]
BootType=Windows2003
SystemPath=multi(0)disk(0)rdisk(0)partition(1)\\{SYSTEM}
Options={OPTIONS}
"""


def write_disk(tree: Path, disk: Path, deadline: Deadline) -> None:
    """Writes the contents of `tree` to the read-only qcow2 `disk`; it has what `iso.unpack` unpacks.

    Raises:
        ImageError: a tool fails: the tree does not fit, or holds a name that FAT32 does not take.
        HostError: mtools or qemu-img is missing.
    """
    (tree / "freeldr.ini").write_text(BOOT_INI, encoding="ascii", newline="\r\n")
    raw = disk.with_suffix(".raw")
    sectors = (SIZE_MIB << 20) // SECTOR
    try:
        with raw.open("wb") as file:
            os.truncate(file.fileno(), sectors * SECTOR)
            file.write(boot_sectors((tree / FREELDR).read_bytes(), sectors))
        volume = f"{raw}@@{START * SECTOR}"
        size = ["-T", str(sectors - START), "-h", str(HEADS), "-s", str(TRACK), "-H", str(START)]
        _run(["mformat", "-i", volume, "-F", *size, "-v", "WINVM", "::"], deadline)
        _run(["mcopy", "-i", volume, "-s", "-m", *map(str, sorted(tree.iterdir())), "::/"], deadline)
        _run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), str(disk)], deadline)
    finally:
        raw.unlink(missing_ok=True)
    disk.chmod(0o400)


def boot_sectors(loader: bytes, sectors: int) -> bytes:
    """What lies before the partition of a disk of so many sectors.

    Raises:
        ImageError: the loader does not fit there.
    """
    count = -(-len(loader) // SECTOR)
    if not 0 < count < START:
        raise ImageError(
            f"The guest's boot loader has {len(loader)} bytes; the disk takes {(START - 1) * SECTOR}.",
            remedy=WHICH,
        )
    unused = b"\xfe\xff\xff"  # cylinder, head and sector; the last two fields count
    partition = struct.pack("<B3sB3sII", ACTIVE, unused, FAT32_LBA, unused, START, sectors - START)
    first = bytearray(SECTOR)
    first[: len(BOOT_CODE)] = BOOT_CODE
    struct.pack_into("<H", first, LEFT, count)
    struct.pack_into("<I", first, 440, SIGNATURE)
    first[446:462], first[510:] = partition, b"\x55\xaa"
    return bytes(first) + loader


def _run(argv: list[str], deadline: Deadline) -> None:
    done = programs.run(argv, deadline)
    if done.code:
        raise ImageError(
            f"{argv[0]} failed with exit code {done.code} while the guest's disk was being made.",
            remedy="Read the tool's message below.",
            detail=done.said,
        )

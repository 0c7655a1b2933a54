"""Reads a ReactOS live CD: which build it is, and its files into a folder. No mount, no root.

The ISO is a foreign file: it is parsed in a process of its own with bounded memory, time and output, and no
name in it leaves the folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pefile
import pycdlib

from harness.deadline import Deadline
from harness.guests.windows.image.bounded import AGAIN, FileRefusedError, answer, ask
from harness.guests.windows.image.iso import opened, readable_size

SYSTEM = "reactos"
"""Folder of the system, on the CD and on the disk."""
KERNEL = f"{SYSTEM}/system32/ntoskrnl.exe"
TRANSPORT = f"{SYSTEM}/system32/kdcom.dll"
LOADER = "loader"
FOLDERS = (SYSTEM, "Profiles", LOADER)
BOOT_SECTOR = f"{LOADER}/isoboot.bin"
"""What a PC's firmware starts from the CD."""
FREELDR = f"{LOADER}/freeldr.sys"
"""What the boot sectors of a disk load."""
HIVE = f"{SYSTEM}/system32/config/system"
CABINET = f"{SYSTEM}/reactos.cab"
"""Holds the system on a boot CD, whose first stage of setup unpacks it."""
WHICH = "Name the live CD of an x64 debug build of ReactOS: --iso PATH."
FROM_BOOT_CD = "Name the live CD of the same build: --iso livecd.iso."
FILE_COUNT, TREE_BYTES, DEPTH = 20_000, 4 << 30, 24
_NAME = re.compile(r'[^\x00-\x1f"*/:<>?\\|]{1,200}')
_KDBG = b"kdb:>"
"""The prompt of ReactOS's own debugger, which is in a kernel instead of WinDbg's protocol."""
_AMD64 = 0x8664


@dataclass(frozen=True)
class Media:
    """What a live CD holds. version: of its kernel, as the kernel's resources give it."""

    iso: Path
    size: int
    version: str


def unpack(iso: Path, folder: Path, deadline: Deadline) -> Media:
    """Copies the system, its profiles and its loader from `iso` into `folder`.

    Raises:
        ConfigurationError: it is no live CD of ReactOS, not of x64, without WinDbg's protocol, or damaged.
        HostError: it cannot be read by this user.
        DeadlineError: it was not read in time.
    """
    size = readable_size(iso, WHICH)
    found = ask(__name__, iso, [str(folder)], deadline)
    return Media(iso, size, str(found["version"]))


def _unpack(arguments: list[str]) -> dict[str, Any]:
    iso, folder = opened(arguments[0]), Path(arguments[1])
    count = total = 0
    for path, size in _files(iso):
        count, total = count + 1, total + size
        if count > FILE_COUNT or total > TREE_BYTES:
            raise FileRefusedError(f"holds more than {FILE_COUNT} files or {TREE_BYTES >> 30} GiB", WHICH)
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            iso.get_file_from_iso_fp(file, iso_path=f"/{path}")
    if (folder / CABINET).is_file() and not (folder / KERNEL).is_file():
        raise FileRefusedError("is a boot CD, which installs the system", FROM_BOOT_CD)
    for needed in (KERNEL, TRANSPORT, HIVE, BOOT_SECTOR, FREELDR):
        if not (folder / needed).is_file():
            raise FileRefusedError(f"holds no {needed}: it is no live CD of ReactOS", WHICH)
    return {"version": kernel_version(folder / KERNEL)}


def _files(iso: pycdlib.PyCdlib) -> Iterator[tuple[str, int]]:
    """Path, with slashes and no first one, and bytes of each file that is wanted."""
    for place, folders, files in iso.walk(iso_path="/"):
        parts = [part for part in place.split("/") if part]
        if not parts:
            folders[:] = [name for name in folders if name in FOLDERS]
        if len(parts) > DEPTH:
            raise FileRefusedError(f"has folders that lie deeper than {DEPTH}", WHICH)
        for name in (*folders, *files):
            if not _NAME.fullmatch(name) or name.strip(". ") == "":
                raise FileRefusedError(f"holds a file named {name[:80]!r}", AGAIN)
        for name in files if parts else ():
            path = "/".join((*parts, name))
            yield path, iso.get_record(iso_path=f"/{path}").get_data_length()


def kernel_version(kernel: Path) -> str:
    """The version in a kernel's resources, `unknown` if it has none.

    Raises:
        FileRefusedError: it is not of x64, or its debugger does not speak WinDbg's protocol.
    """
    try:
        image = pefile.PE(str(kernel))
    except pefile.PEFormatError as error:
        raise FileRefusedError(f"has a kernel that is no executable: {error}", AGAIN) from error
    if image.FILE_HEADER.Machine != _AMD64:
        raise FileRefusedError("is not of an x64 build", WHICH)
    if _KDBG in kernel.read_bytes():
        raise FileRefusedError(
            "has a kernel with ReactOS's own debugger, not with WinDbg's protocol",
            "Name a build that was made for WinDbg (msvc-win-dbg).",
        )
    texts = [
        entry
        for info in getattr(image, "FileInfo", [])
        for table in info
        for strings in getattr(table, "StringTable", [])
        for entry in strings.entries.items()
    ]
    found = dict(texts).get(b"ProductVersion", b"unknown")
    return str(found.decode("utf-8", "replace"))[:40]


if __name__ == "__main__":
    answer(_unpack)

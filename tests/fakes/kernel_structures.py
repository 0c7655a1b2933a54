"""A crashed kernel in a full dump: pool page, IRP, device stack, DbgPrint buffer, threads that wait.

Offsets that the driver kit declares are written by position. Those of the kernel's own structures are those
of `nt/structures.c`, which is compiled with its PDB.
"""

from __future__ import annotations

import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.fakes import dump_writer as writer
from tests.fakes.emulated import loaded

SOURCE = Path(__file__).parent / "nt" / "structures.c"
NT = 0xFFFFF80060000000
POOL = 0xFFFFA00000010000
OBJECTS = 0xFFFFA00000020000
THREADS = 0xFFFFA00000030000
RING = 0xFFFFA00000040000
RING_SIZE = 0x1000
IRP = POOL + 0x50
UPPER, LOWER = OBJECTS + 0x100, OBJECTS + 0x300
DRIVER_OBJECTS = OBJECTS + 0x500
COMPLETION = writer.DRIVER + 0x1500
PROCESS, FIRST, SECOND = THREADS, THREADS + 0x100, THREADS + 0x200
KERNEL_STACK = THREADS + 0x800


@dataclass(frozen=True)
class Built:
    """The kernel as the loader lays it out, its exports' offsets, and the folder with its PDB."""

    folder: Path
    image: bytes
    exports: dict[str, int]


def build(folder: Path) -> Built:
    """Compiles and links the kernel."""
    flags = ["--target=x86_64-w64-windows-gnu", "-O1", "-g", "-gcodeview", "-ffreestanding", "-w"]
    flags.append("-fasynchronous-unwind-tables")
    subprocess.run(["clang-19", *flags, "-c", SOURCE, "-o", folder / "nt.o"], check=True)
    link = ["/dll", "/noimplib", "/subsystem:native", "/entry:NtStart", "/nodefaultlib", f"/base:{NT:#x}"]
    link += ["/dynamicbase:no", "/debug", "/pdb:ntkrnlmp.pdb", "/pdbaltpath:ntkrnlmp.pdb", "/lldmap:nt.map"]
    subprocess.run(["lld-link-19", *link, "/out:ntoskrnl.exe", "nt.o"], check=True, cwd=folder)
    exports = {}
    for line in (folder / "nt.map").read_text().splitlines():
        words = line.split()
        if words and words[-1] in ("KiSwapThread", "KiBugCheckDriver"):
            exports[words[-1]] = int(words[0], 16)
    return Built(folder, loaded(folder / "ntoskrnl.exe"), exports)


def poke(made: writer.Guest, address: int, data: bytes) -> None:
    """Writes virtual memory; pages that are not there yet are mapped."""
    while data:
        table = made.table(address, (39, 30, 21))
        (found,) = struct.unpack_from("<Q", made.pages[table], 8 * (address >> 12 & 0x1FF))
        pfn = found >> 12 if found else made.map_page(address & -writer.PAGE)
        count = writer.PAGE - address % writer.PAGE
        made.write(pfn, address % writer.PAGE, data[:count])
        address, data = address + count, data[count:]


def pool_header(previous: int, units: int, tag: bytes, kind: int = 2) -> bytes:
    return struct.pack("<BBBB4sQ", previous, 0, units, kind, tag, 0)


def location(major: int, minor: int, device: int, completion: int = 0) -> bytes:
    return struct.pack("<BBBB4x4Q", major, minor, 0, 0xE0, 0, 0, 0, 0) + struct.pack(
        "<4Q", device, 0, completion, 0
    )


def text(value: str, at: int) -> tuple[bytes, bytes]:
    """A UNICODE_STRING whose buffer lies at an address, and that buffer."""
    raw = value.encode("utf-16-le")
    return struct.pack("<HHIQ", len(raw), len(raw) + 2, 0, at), raw


def crashed(built: Built | None = None) -> writer.Guest:
    """The guest's memory; with the kernel's image if there is one."""
    made = writer.guest()
    _pool(made)
    _objects(made)
    _ring(made)
    if built is not None:
        _kernel(made, built)
        _threads(made, built)
    return made


def _pool(made: writer.Guest) -> None:
    poke(made, POOL, bytes(writer.PAGE))
    for at, header in (
        (0, pool_header(0, 4, b"Abcd")),
        (0x40, pool_header(4, 0x30, b"Irp\xa0")),  # the tag's highest bit marks a protected block
        (0x340, pool_header(0x30, 0xCC, b"Free", kind=0)),
    ):
        poke(made, POOL + at, header)
    irp = bytearray(0xD0)
    struct.pack_into("<hH", irp, 0, 6, 0xD0 + 3 * 0x48)
    struct.pack_into("<I", irp, 0x30, 0xC00000BB)
    struct.pack_into("<bb", irp, 0x42, 3, 2)
    struct.pack_into("<Q", irp, 0x98, FIRST)
    poke(made, IRP, bytes(irp))
    poke(made, IRP + 0xD0, bytes(0x48) + location(0x16, 2, LOWER, COMPLETION) + location(0x16, 2, UPPER))


def _objects(made: writer.Guest) -> None:
    for device, driver, name in (
        (UPPER, DRIVER_OBJECTS, "\\Driver\\upper"),
        (LOWER, DRIVER_OBJECTS + 0x200, "\\Driver\\bad"),
    ):
        poke(made, device, struct.pack("<hHiQ", 3, 0x150, 1, driver))
        string, raw = text(name, driver + 0x100)
        poke(made, driver, struct.pack("<hH4x", 4, 0x150).ljust(0x38, b"\0") + string)
        poke(made, driver + 0x100, raw)
    # Object header of structures.c: InfoMask at 0x11, Body at 0x18; creator information, then the name's.
    string, raw = text("\\Device\\Bad0", LOWER - 0x90)
    poke(made, LOWER - 0x90, raw)
    poke(made, LOWER - 0x18, struct.pack("<QQBB6x", 1, 1, 3, 3))
    poke(made, LOWER - 0x18 - 0x20 - 0x20, struct.pack("<Q", 0) + string)


def _ring(made: writer.Guest) -> None:
    old, new = b"overwritten\nolder line\n", b"bad: about to fail\r\nbad: \x1b[31mfailing\n"
    data = (new + old.rjust(RING_SIZE - len(new), b".")).ljust(RING_SIZE, b"\0")
    poke(made, RING, data)
    poke(made, RING + 0x2000, struct.pack("<QIIQ", RING, RING_SIZE, 1, RING + len(new)))
    for offset, address in ((0x2C8, 0), (0x2D0, 8), (0x1F8, 12), (0x1F0, 16)):
        poke(made, writer.KDBG + offset, struct.pack("<Q", RING + 0x2000 + address))


def _kernel(made: writer.Guest, built: Built) -> None:
    path = "\\SystemRoot\\system32\\ntoskrnl.exe"
    entry = writer.entry(
        writer.ENTRIES + 0x200, NT, len(built.image), writer.ENTRIES + 0x800, path, "ntoskrnl.exe", 7
    )
    poke(made, writer.ENTRIES, entry)
    poke(made, NT, built.image)
    poke(made, writer.KDBG + 0x18, struct.pack("<Q", NT))


def _threads(made: writer.Guest, built: Built) -> None:
    """A process with two threads; the first waits, in KiSwapThread, called by the driver."""
    head, links = PROCESS + 0x400, PROCESS + 8
    poke(made, writer.KDBG + 0x50, struct.pack("<Q", head))
    poke(made, head, struct.pack("<QQ", links, links))
    entries = [thread + 0x38 for thread in (FIRST, SECOND)]
    poke(made, PROCESS, struct.pack("<QQQQ15sBQQ", 0, head, head, 0, b"System", 8, *entries))
    for number, thread in enumerate((FIRST, SECOND)):
        state = 5 - 3 * number  # waiting, running
        following = entries[1] if number == 0 else PROCESS + 0x30
        poke(made, thread, bytes(0x20) + struct.pack("<Q7xBQQQ", KERNEL_STACK, state, 0, following, 0))
    swap = NT + built.exports["KiSwapThread"]
    after_call = swap + built.image[built.exports["KiSwapThread"] :].index(b"\xff\xd1") + 2  # call rcx
    poke(made, KERNEL_STACK, struct.pack("<5Q", 1, 2, 3, 0x1234, after_call))
    poke(made, KERNEL_STACK + 0x28, bytes(0x38) + struct.pack("<QQ", writer.RETURN, 0))


def dump(made: writer.Guest, code: int, *parameters: int) -> bytes:
    """A full dump of the guest with another bugcheck."""
    data = bytearray(writer.full(made))
    struct.pack_into("<I", data, 0x38, code)
    struct.pack_into("<4Q", data, 0x40, *parameters)
    return bytes(data)

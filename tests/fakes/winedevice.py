"""The memory of a winedevice.exe: a driver, its devices and IRPs, laid out as wdm.h declares them for x64."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

BASE = 0x140000000
HEAP = 0x7F0000
HEAP_SIZE = 0x10000
DRIVER, DEVICE, OTHER_DEVICE, IRPS = HEAP + 0x100, HEAP + 0x400, HEAP + 0x600, HEAP + 0x1000
STAMP, SIZE = 0x6543210F, 0x9000
CONTROL, READ = 14, 3


@dataclass
class Winedevice:
    """The process. `routines`: RVA of the driver's routine by major function; the others are Wine's own."""

    routines: dict[int, int] = field(default_factory=lambda: {CONTROL: 0x1230, READ: 0x1340})
    irps: int = 0

    def __post_init__(self) -> None:
        self.heap = bytearray(HEAP_SIZE)
        self.put(DRIVER, struct.pack("<HHIQ", 4, 0x150, 0, DEVICE))
        self.put(DRIVER + 0x18, struct.pack("<QI", BASE, SIZE))
        for major in range(28):
            routine = BASE + self.routines[major] if major in self.routines else 0x6FFFF0001000
            self.put(DRIVER + 0x70 + 8 * major, struct.pack("<Q", routine))
        self.put(DEVICE, struct.pack("<HHIQQ", 3, 0x150, 1, DRIVER, OTHER_DEVICE))
        self.put(OTHER_DEVICE, struct.pack("<HHIQQ", 3, 0x150, 1, DRIVER, 0))

    def put(self, address: int, data: bytes) -> None:
        """Writes the heap."""
        self.heap[address - HEAP : address - HEAP + len(data)] = data

    def irp(self, major: int, device: int = DEVICE, code: int = 0, *, completed: bool = False) -> int:
        """Adds an IRP with two stack locations, the lower one the driver's; returns its address."""
        at, self.irps = IRPS + 0x200 * self.irps, self.irps + 1
        number = 3 if completed else 1
        location = at + 0xD0 + 0x48 * (number - 1)
        self.put(at, struct.pack("<HH", 6, 0xD0 + 2 * 0x48))
        self.put(at + 0x42, bytes((2, number)))
        self.put(at + 0xB8, struct.pack("<Q", location))
        own = at + 0xD0
        self.put(own, bytes((major, 0, 0, 0)))
        self.put(own + 0x18, struct.pack("<I", code))
        self.put(own + 0x28, struct.pack("<Q", device))
        return at

    @property
    def headers(self) -> bytes:
        """The driver's PE headers, as far as a reader looks."""
        head = bytearray(0x1000)
        head[:2], head[0x3C:0x40] = b"MZ", struct.pack("<I", 0x80)
        head[0x80:0x84], head[0x88:0x8C] = b"PE\0\0", struct.pack("<I", STAMP)
        head[0x80 + 24 + 56 : 0x80 + 24 + 60] = struct.pack("<I", SIZE)
        return bytes(head)

    def write(self, folder: Path) -> None:
        """The process as files of /proc: comm, maps, pagemap, mem. Pages of zeros are not there."""
        folder.mkdir(parents=True)
        (folder / "comm").write_text("winedevice.exe\n")
        (folder / "maps").write_text(
            f"{HEAP:x}-{HEAP + HEAP_SIZE:x} rw-p 00000000 00:00 0 \n"
            f"{BASE:x}-{BASE + 0x1000:x} r--p 00000000 fe:00 123   /winvm/run/drv.sys\n"
            f"{BASE + 0x1000:x}-{BASE + 0x9000:x} r-xp 00001000 00:00 0 \n"
            "7ffe0000-7ffe1000 r--s 00000000 00:01 5   /memfd:wine-mapping (deleted)\n"
            "7fff00000000-7fff00021000 rw-p 00000000 00:00 0   [stack]\n"
            "700000000000-700001000000 ---p 00000000 00:00 0 \n"
        )
        pages = [bytes(self.heap[at : at + 0x1000]) for at in range(0, HEAP_SIZE, 0x1000)]
        with (folder / "pagemap").open("wb") as table:
            table.seek(HEAP // 0x1000 * 8)
            table.write(b"".join(struct.pack("<Q", int(any(page)) << 63) for page in pages))
        with (folder / "mem").open("wb") as memory:
            memory.seek(HEAP)
            memory.write(self.heap)
            memory.seek(BASE)
            memory.write(self.headers)

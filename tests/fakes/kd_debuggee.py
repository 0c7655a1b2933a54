"""A halted kernel for debuggers of other projects: memory, page tables, registers, breakpoints.

Its memory is the image of `nt/kernel.c`, built with its PDB by the toolchain when a test asks for it.
"""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import pefile

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.manipulate import Api, Manipulate, Version
from harness.debuggers.kd.packets import Packet, PacketType
from tests.fakes.kd_machine import UNSUCCESSFUL, exception

SOURCE = Path(__file__).parent / "nt" / "kernel.c"
CR3 = 0x1AD000
PAGE = 4096
READ_LIMIT = 1096
BREAKPOINTS = 32
_SELF_MAP = 0x1ED
_PRESENT = 0x63
_FRAME = 0xFFFFFFFFFF000
_DISPATCH_UNSUPPORTED = 0xC00000BB
SWITCHED = 0x80000007


@dataclass(frozen=True)
class Built:
    """The kernel's image laid out in memory, its base, its exports' addresses; its PDB lies in `folder`."""

    folder: Path
    base: int
    memory: bytes
    exports: dict[str, int]


def build(folder: Path) -> Built:
    """Compiles and links the kernel in a folder."""
    compiled, image = folder / "kernel.o", folder / "ntoskrnl.exe"
    target = ["--target=x86_64-w64-windows-gnu", "-O1", "-g", "-gcodeview", "-ffreestanding", "-w"]
    subprocess.run(["clang-19", *target, "-c", SOURCE, "-o", compiled], check=True)
    link = ["/dll", "/noimplib", "/subsystem:native", "/entry:NtStart", "/nodefaultlib", "/dynamicbase:no"]
    link += ["/base:0xFFFFF80100000000", "/debug", "/pdb:ntkrnlmp.pdb", "/pdbaltpath:ntkrnlmp.pdb"]
    subprocess.run(["lld-link-19", *link, f"/out:{image}", compiled], check=True, cwd=folder)
    with pefile.PE(str(image)) as parsed:
        base = parsed.OPTIONAL_HEADER.ImageBase
        exports = {one.name.decode(): base + one.address for one in parsed.DIRECTORY_ENTRY_EXPORT.symbols}  # type: ignore[attr-defined]
        memory = parsed.get_memory_mapped_image()
        size = parsed.OPTIONAL_HEADER.SizeOfImage
    return Built(folder, base, memory.ljust(size, b"\0"), exports)


class PhysicalMemory:
    """Frames of memory, with the page tables that map them for an x64 processor."""

    def __init__(self) -> None:
        self._frames: dict[int, bytearray] = {CR3 // PAGE: bytearray(PAGE)}
        self._free = 0x400
        self._store(CR3 + 8 * _SELF_MAP, CR3 | _PRESENT)

    def read(self, address: int, size: int) -> bytes:
        """Physical memory, up to the end of the page."""
        frame = self._frames.get(address // PAGE, b"")
        return bytes(frame[address % PAGE : address % PAGE + size])

    def write(self, address: int, data: bytes) -> int:
        """Writes up to the end of the page; returns how much."""
        frame = self._frames.get(address // PAGE)
        if frame is None:
            return 0
        count = min(len(data), PAGE - address % PAGE)
        frame[address % PAGE : address % PAGE + count] = data[:count]
        return count

    def map(self, address: int, data: bytes) -> None:
        """Puts data at a virtual address; pages that are not there yet are made."""
        while data:
            count = PAGE - address % PAGE
            self.write(self.translate(address, make=True), data[:count])
            address, data = address + count, data[count:]

    def translate(self, address: int, *, make: bool = False) -> int:
        """The physical address; -1 when nothing is mapped there."""
        table = CR3
        for shift in (39, 30, 21, 12):
            at = table + 8 * (address >> shift & 511)
            (entry,) = struct.unpack("<Q", self.read(at, 8))
            if not entry & 1:
                if not make:
                    return -1
                entry = self._free * PAGE | _PRESENT
                self._frames[self._free] = bytearray(PAGE)
                self._free += 1
                self._store(at, entry)
            table = entry & _FRAME
        return table + address % PAGE

    def _store(self, address: int, value: int) -> None:
        self.write(address, struct.pack("<Q", value))


class DebuggedKernel:
    """Implements `Machine`. It sends the packets in `script`; `unknown` has the requests that it refused."""

    def __init__(self, built: Built, script: Iterable[Packet] = ()) -> None:
        self.script = list(script)
        self.breakpoints: dict[int, int] = {}
        self.set_breakpoints: list[int] = []
        self.unknown: list[int] = []
        self.continued = 0
        self._built = built
        self._memory = PhysicalMemory()
        self._memory.map(built.base, built.memory)
        self.break_pc = built.exports["DbgBreakPointWithStatus"]
        stack = built.exports["PsLoadedModuleList"] & ~0xF
        self._context = kd_context.with_registers(bytes(kd_context.SIZE), rip=self.break_pc, rsp=stack, rcx=1)
        self._answers: dict[int, Callable[[Manipulate], tuple[int, bytes, bytes]]] = {
            Api.GET_VERSION: self._version,
            Api.READ_VIRTUAL: self._read_virtual,
            Api.WRITE_VIRTUAL: self._write_virtual,
            Api.READ_PHYSICAL: self._read_physical,
            Api.WRITE_PHYSICAL: self._write_physical,
            Api.GET_CONTEXT: lambda _: (0, b"", self._context),
            Api.SET_CONTEXT: self._set_context,
            Api.GET_CONTEXT_EX: self._get_context_ex,
            Api.SET_CONTEXT_EX: self._set_context_ex,
            Api.READ_CONTROL_SPACE: self._read_control_space,
            Api.WRITE_CONTROL_SPACE: lambda one: (0, one.union[:12] + one.union[8:12], b""),
            Api.WRITE_BREAKPOINT: self._write_breakpoint,
            Api.RESTORE_BREAKPOINT: self._restore_breakpoint,
            Api.READ_MSR: lambda one: (0, one.union[:4] + bytes(8), b""),
            Api.WRITE_MSR: lambda one: (0, one.union, b""),
            Api.SEARCH_MEMORY: self._search,
        }

    def say(self) -> Packet | None:
        return self.script.pop(0) if self.script else None

    def break_in(self) -> None:
        self._context = kd_context.with_registers(self._context, rip=self.break_pc)
        self.script.insert(0, exception(0x80000003, self.break_pc))

    def told(self, packet: Packet) -> None:
        if packet.type != PacketType.STATE_MANIPULATE:
            return
        api = Manipulate.parse(packet.payload).api
        if api == Api.SWITCH_PROCESSOR:
            self.script.insert(0, exception(SWITCHED, self.break_pc))
        elif api == Api.CLEAR_BREAKPOINTS:
            self.breakpoints.clear()
        else:
            self.continued += 1

    def reply(self, request: Manipulate) -> bytes:
        answer = self._answers.get(request.api)
        if answer is None:
            self.unknown.append(request.api)
            status, union, data = _DISPATCH_UNSUPPORTED, request.union, b""
        else:
            status, union, data = answer(request)
        level, processor = request.processor_level, request.processor
        return Manipulate(request.api, level, processor, status, union, data).encode()

    def _version(self, _request: Manipulate) -> tuple[int, bytes, bytes]:
        lists = self._built.exports["PsLoadedModuleList"], self._built.exports["KdDebuggerDataListHead"]
        return 0, Version(False, 19045, kd_context.AMD64, self._built.base, *lists).encode(), b""

    def _read_virtual(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        address, count = struct.unpack_from("<QI", request.union)
        data = b""
        while len(data) < min(count, READ_LIMIT):
            at = self._memory.translate(address + len(data))
            if at < 0:
                break
            data += self._memory.read(at, min(count, READ_LIMIT) - len(data))
        return _told(address, count, data)

    def _write_virtual(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        address, count = struct.unpack_from("<QI", request.union)
        at = self._memory.translate(address)
        written = self._memory.write(at, request.data[:count]) if at >= 0 else 0
        return 0 if written == count else UNSUCCESSFUL, struct.pack("<QII", address, count, written), b""

    def _read_physical(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        address, count = struct.unpack_from("<QI", request.union)
        return _told(address, count, self._memory.read(address, min(count, READ_LIMIT)))

    def _write_physical(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        address, count = struct.unpack_from("<QI", request.union)
        written = self._memory.write(address, request.data[:count])
        return 0 if written == count else UNSUCCESSFUL, struct.pack("<QII", address, count, written), b""

    def _set_context(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        self._context = request.data
        return 0, b"", b""

    def _get_context_ex(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        offset, count = struct.unpack_from("<II", request.union)
        data = self._context[offset : offset + count]
        return 0, struct.pack("<III", offset, count, len(data)), data

    def _set_context_ex(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        offset, count = struct.unpack_from("<II", request.union)
        end = offset + len(request.data)
        self._context = self._context[:offset] + request.data + self._context[end:]
        return 0, struct.pack("<III", offset, count, len(request.data)), b""

    def _read_control_space(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        """Processor control region and block, special registers, and thread, by number."""
        number, count = struct.unpack_from("<QI", request.union)
        pcr = self._built.exports["Pcr0"]
        pointer = {0: pcr, 1: self._pointer(pcr + 64), 3: self._pointer(self._pointer(pcr + 64) + 8)}
        if number == 2:
            data = struct.pack("<4Q", 0x80050033, 0, CR3, 0x350EF8).ljust(0xE0, b"\0")
        elif number in pointer:
            data = struct.pack("<Q", pointer[number])
        else:
            data = b""
        return _told(number, count, data[:count])

    def _pointer(self, address: int) -> int:
        return int.from_bytes(self._memory.read(self._memory.translate(address), 8), "little")

    def _write_breakpoint(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        (address,) = struct.unpack_from("<Q", request.union)
        free = next((one for one in range(1, BREAKPOINTS + 1) if one not in self.breakpoints), 0)
        if not free:
            return UNSUCCESSFUL, request.union, b""
        self.breakpoints[free] = address
        self.set_breakpoints.append(address)
        return 0, struct.pack("<QI", address, free), b""

    def _restore_breakpoint(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        (handle,) = struct.unpack_from("<I", request.union)
        found = self.breakpoints.pop(handle, None) is not None
        return 0 if found else UNSUCCESSFUL, request.union, b""

    def _search(self, request: Manipulate) -> tuple[int, bytes, bytes]:
        address, length, size = struct.unpack_from("<QQI", request.union)
        start = address - self._built.base
        at = self._built.memory.find(request.data[:size], start, start + length) if start >= 0 else -1
        found = struct.pack("<QQI", self._built.base + at, length, size)
        return (0, found, b"") if at >= 0 else (0xC0000225, request.union, b"")


def _told(address: int, count: int, data: bytes) -> tuple[int, bytes, bytes]:
    status = 0 if data and len(data) == min(count, READ_LIMIT) else UNSUCCESSFUL
    return status, struct.pack("<QII", address, count, len(data)), data

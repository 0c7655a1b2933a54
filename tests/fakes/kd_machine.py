"""A small kernel for the fake target: it prints, breaks, bugchecks, and answers for its memory."""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Iterable

from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.io import PRINT, PROMPT
from harness.debuggers.kd.manipulate import Api, Manipulate, Version
from harness.debuggers.kd.packets import Packet, PacketType

KERNEL_BASE = 0xFFFFF80100000000
MODULE_LIST = KERNEL_BASE + 0x1000
DATA_LIST = KERNEL_BASE + 0x2000
DATA_BLOCK = KERNEL_BASE + 0x3000
BUGCHECK_DATA = KERNEL_BASE + 0x4000
ENTRIES = KERNEL_BASE + 0x5000
STACK = 0xFFFFF90000001000
BREAK_PC = KERNEL_BASE + 0x100
UNSUCCESSFUL = 0xC0000001
MODULES = (
    (r"\SystemRoot\system32\ntoskrnl.exe", KERNEL_BASE, 0x800000),
    (r"\??\C:\winvm\winvm.sys", 0xFFFFF80200000000, 0x9000),
)


def print_string(text: bytes, processor: int = 0) -> bytes:
    """The payload of a DbgPrint."""
    return struct.pack("<IHHII", PRINT, 0, processor, len(text), 0) + text


def printed(text: str) -> Packet:
    return Packet(PacketType.DEBUG_IO, 0, print_string(text.encode()))


def prompt(text: str) -> Packet:
    raw = text.encode()
    return Packet(PacketType.DEBUG_IO, 0, struct.pack("<IHHII", PROMPT, 0, 0, len(raw), 16) + raw)


def file_request(path: str) -> Packet:
    name = (path + "\0").encode("utf-16-le")
    return Packet(PacketType.FILE_IO, 0, struct.pack("<II", 0x3430, 0).ljust(64, b"\0") + name)


def state_change(
    state: int, union: bytes, pc: int, tail: bytes = b"", instructions: bytes = b"\xcc\xc3"
) -> Packet:
    head = struct.pack("<IHHI4xQQ", state, 6, 0, 2, 0xFFFFA000_12345040, pc)
    report = struct.pack("<QQIHH16s", 0xFFFF0FF0, 0x400, 2, len(instructions), 0, instructions)
    payload = head + union.ljust(0xA0, b"\0") + report.ljust(48, b"\0") + tail
    return Packet(PacketType.STATE_CHANGE64, 0, payload)


def load_symbols(path: str, base: int, size: int, *, unload: bool = False) -> Packet:
    name = path.encode() + b"\0" if path else b""
    union = struct.pack("<I4xQQIIB", len(name), base, 0, 0x1234, size, unload)
    return state_change(0x3031, union, BREAK_PC, name)


def exception(code: int, pc: int = BREAK_PC, *, first: bool = True) -> Packet:
    union = struct.pack("<IIQQI4x15Q", code, 0, 0, pc, 1, *range(15)).ljust(152, b"\0")
    instructions = b"\xcc\xc3" if code == 0x80000003 else b"\x90\x90"
    return state_change(0x3030, union + struct.pack("<I", first), pc, instructions=instructions)


class FakeKernel:
    """Implements `Machine`: sends the packets in `script`, in order.

    `rcx` is the argument of the breakpoint routine; `bugcheck` is the bugcheck data in memory. `registers`
    are kept per processor. `asked` has the requests received, `answers` the answers to prompts and file
    requests.
    """

    def __init__(self, script: Iterable[Packet] = ()) -> None:
        self.script = deque(script)
        self.rcx: deque[int] = deque()
        self.asked: list[Manipulate] = []
        self.answers: list[Packet] = []
        self.breaks = 0
        self.boot_debugger = False
        self.machine = kd_context.AMD64
        self.contexts = [_context(number) for number in range(2)]
        self.memory: dict[int, bytes] = {}
        self._fill_memory()

    def say(self) -> Packet | None:
        if not self.script:
            return None
        packet = self.script.popleft()
        if packet.type == PacketType.STATE_CHANGE64:
            (pc,) = struct.unpack_from("<Q", packet.payload, 24)
            rcx = self.rcx.popleft() if self.rcx else 1
            self.contexts[0] = kd_context.with_registers(self.contexts[0], rip=pc, rcx=rcx)
        return packet

    def break_in(self) -> None:
        self.breaks += 1
        self.script.appendleft(exception(0x80000003))

    def told(self, packet: Packet) -> None:
        if packet.type == PacketType.STATE_MANIPULATE:
            self.asked.append(Manipulate.parse(packet.payload))
        else:
            self.answers.append(packet)

    def bugchecked(self, code: int, *parameters: int) -> None:
        """Puts a bugcheck into memory."""
        self.write(BUGCHECK_DATA, struct.pack("<5Q", code, *parameters))

    def write(self, address: int, data: bytes) -> None:
        page = address & ~0xFFF
        old = self.memory.get(page, bytes(4096))
        at = address - page
        self.memory[page] = old[:at] + data + old[at + len(data) :]

    def reply(self, request: Manipulate) -> bytes:
        self.asked.append(request)
        status, union, data = 0, request.union, b""
        if request.api == Api.GET_VERSION:
            union = Version(
                self.boot_debugger, 19045, self.machine, KERNEL_BASE, MODULE_LIST, DATA_LIST
            ).encode()
        elif request.api == Api.READ_VIRTUAL:
            address, count = struct.unpack_from("<QI", request.union)
            page = self.memory.get(address & ~0xFFF)
            data = page[address & 0xFFF : (address & 0xFFF) + count] if page else b""
            status = 0 if len(data) == count else UNSUCCESSFUL
            union = struct.pack("<QII", address, count, len(data))
        elif request.api == Api.GET_CONTEXT:
            data = self.contexts[request.processor]
        elif request.api == Api.SET_CONTEXT:
            self.contexts[request.processor] = request.data
        else:
            status = UNSUCCESSFUL
        reply = Manipulate(request.api, request.processor_level, request.processor, status, union, data)
        return reply.encode()

    def _fill_memory(self) -> None:
        entries = [ENTRIES + 0x200 * number for number in range(len(MODULES))]
        for number, (path, base, size) in enumerate(MODULES):
            following = entries[number + 1] if number + 1 < len(entries) else MODULE_LIST
            name = path.encode("utf-16-le")
            entry = struct.pack("<Q", following).ljust(0x30, b"\0") + struct.pack("<QQI4x", base, 0, size)
            entry += struct.pack("<HHIQ", len(name), len(name), 0, entries[number] + 0x100)
            self.write(entries[number], entry.ljust(0x100, b"\0") + name)
        self.write(MODULE_LIST, struct.pack("<Q", entries[0]))
        self.write(DATA_LIST, struct.pack("<Q", DATA_BLOCK))
        self.write(DATA_BLOCK + 0x88, struct.pack("<Q", BUGCHECK_DATA))
        self.write(STACK, struct.pack("<128Q", *range(0x1000, 0x1080)))


def _context(processor: int) -> bytes:
    return kd_context.with_registers(bytes(kd_context.SIZE), rsp=STACK, rbx=processor)

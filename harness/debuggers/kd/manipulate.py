"""Requests to a halted kernel and their replies: KD packet type 2."""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from harness.debuggers.kd.packets import Packet, PacketType
from harness.errors import KdError

HEADER_SIZE = 56
_HEADER = struct.Struct("<IHHI4x")
_UNION = 16
READ_LIMIT = 1024
"""Most bytes of memory in one request; a KDNET target returns at most 1096."""
PAGE = 4096
CONTINUE = 0x00010002
HANDLED = 0x00010001
NOT_HANDLED = 0x80010001


class Api(enum.IntEnum):
    """The number of a request."""

    READ_VIRTUAL = 0x3130
    WRITE_VIRTUAL = 0x3131
    GET_CONTEXT = 0x3132
    SET_CONTEXT = 0x3133
    WRITE_BREAKPOINT = 0x3134
    RESTORE_BREAKPOINT = 0x3135
    CONTINUE = 0x3136
    READ_CONTROL_SPACE = 0x3137
    WRITE_CONTROL_SPACE = 0x3138
    REBOOT = 0x313B
    CONTINUE2 = 0x313C
    READ_PHYSICAL = 0x313D
    WRITE_PHYSICAL = 0x313E
    GET_VERSION = 0x3146
    CAUSE_BUGCHECK = 0x3149
    SWITCH_PROCESSOR = 0x3150
    READ_MSR = 0x3152
    WRITE_MSR = 0x3153
    SEARCH_MEMORY = 0x3156
    CLEAR_BREAKPOINTS = 0x315A
    GET_CONTEXT_EX = 0x315F
    SET_CONTEXT_EX = 0x3160


@dataclass(frozen=True)
class Manipulate:
    """A request or a reply. `status` is an NTSTATUS in replies; `union` is the 40 bytes each api defines."""

    api: int
    processor_level: int
    processor: int
    status: int
    union: bytes
    data: bytes

    @property
    def failed(self) -> bool:
        """Whether the target refused."""
        return self.status >> 31 != 0

    @classmethod
    def parse(cls, payload: bytes) -> Manipulate:
        """Raises KdError for a payload without the common header."""
        if len(payload) < HEADER_SIZE:
            raise KdError(f"A manipulate payload of {len(payload)} bytes has no header.")
        api, level, processor, status = _HEADER.unpack_from(payload)
        return cls(api, level, processor, status, payload[_UNION:HEADER_SIZE], payload[HEADER_SIZE:])

    def encode(self) -> bytes:
        """The payload."""
        header = _HEADER.pack(self.api, self.processor_level, self.processor, self.status)
        return header + self.union.ljust(HEADER_SIZE - _UNION, b"\0") + self.data


GOES_ON = (Api.CONTINUE, Api.CONTINUE2, Api.REBOOT, Api.CAUSE_BUGCHECK, Api.SWITCH_PROCESSOR)
"""Requests that continue the target; it does not reply to them."""


def settles(answer: Packet, waiting: Packet) -> bool:
    """Whether a debugger's packet ends the target's wait for a file, a prompt's answer, or to continue."""
    if waiting.type != PacketType.STATE_CHANGE64:
        return answer.type == waiting.type
    return (
        answer.type == PacketType.STATE_MANIPULATE and int.from_bytes(answer.payload[:4], "little") in GOES_ON
    )


def read_virtual(address: int, size: int) -> bytes:
    """Union of a request for `size` bytes at `address`."""
    return struct.pack("<QII", address, size, 0)


def continue2(status: int, dr7: int) -> bytes:
    """Union of the request to continue, without tracing and without a symbol range to stop at."""
    return struct.pack("<IIQQQ", status, 0, dr7, 0, 0)


@dataclass(frozen=True)
class Version:
    """The target's answer to GetVersion. `build` is the Windows build; an unknown address is 0."""

    boot_debugger: bool
    build: int
    machine: int
    kernel_base: int
    modules: int
    debugger_data: int

    @classmethod
    def parse(cls, reply: Manipulate) -> Version:
        """Reads the union of a GetVersion reply."""
        major, build, _protocol, _flags, machine = struct.unpack_from("<HHHHH", reply.union)
        base, modules, data = struct.unpack_from("<QQQ", reply.union, 16)
        return cls(major >> 8 == 4, build, machine, base, modules, data)

    def encode(self) -> bytes:
        """The union of the reply, as a target makes it."""
        major = 0x040F if self.boot_debugger else 0x000F
        head = struct.pack("<HHBBHHBBBBH", major, self.build, 6, 2, 7, self.machine, 12, 3, 0x31, 0, 0)
        return head + struct.pack("<QQQ", self.kernel_base, self.modules, self.debugger_data)

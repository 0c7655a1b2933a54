"""What a kernel asks its debugger to do: print, prompt, hand out a file (packet types 3 and 11)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness.debuggers.kd.packets import Packet, PacketType
from harness.errors import KdError

PRINT = 0x3230
PROMPT = 0x3231
_IO = struct.Struct("<IHHII")
_FILE_HEADER = 64
STATUS_NO_SUCH_FILE = 0xC000000F
FILE_CREATE = 0x3430
_FILE_APIS = {FILE_CREATE: "create", 0x3431: "read", 0x3432: "write", 0x3433: "close"}


@dataclass(frozen=True)
class DebugIo:
    """Text that the kernel prints. With `prompt` it waits for an answer of at most `answer_limit` bytes."""

    text: str
    prompt: bool
    answer_limit: int
    processor_level: int
    processor: int

    @classmethod
    def parse(cls, payload: bytes) -> DebugIo:
        """Raises KdError for a payload that is neither a print nor a prompt."""
        if len(payload) < _IO.size:
            raise KdError(f"A debug I/O payload of {len(payload)} bytes has no header.")
        api, level, processor, length, limit = _IO.unpack_from(payload)
        if api not in (PRINT, PROMPT) or length > len(payload) - _IO.size:
            raise KdError(f"A debug I/O payload of {len(payload)} bytes names api {api:#x}, length {length}.")
        text = payload[_IO.size : _IO.size + length].decode("utf-8", "backslashreplace")
        return cls(text, api == PROMPT, limit if api == PROMPT else 0, level, processor)

    def answer(self, text: bytes) -> bytes:
        """The payload that answers this prompt."""
        text = text[: self.answer_limit]
        return _IO.pack(PROMPT, self.processor_level, self.processor, 0, len(text)) + text


def is_print(packet: Packet) -> bool:
    """Whether a packet only prints: the kernel then waits for the acknowledgement alone."""
    return packet.type == PacketType.DEBUG_IO and not is_prompt(packet)


def is_prompt(packet: Packet) -> bool:
    """Whether a debug I/O packet waits for an answer."""
    return packet.payload[:4] == PROMPT.to_bytes(4, "little")


@dataclass(frozen=True)
class FileRequest:
    """A request for a file on the debugger's disk; `path` is known for `create` alone."""

    operation: str
    path: str
    status: int
    header: bytes

    @classmethod
    def parse(cls, payload: bytes) -> FileRequest:
        """Raises KdError for a payload that is no file request."""
        if len(payload) < _FILE_HEADER:
            raise KdError(f"A file I/O payload of {len(payload)} bytes has no header.")
        api, status = struct.unpack_from("<II", payload)
        if api not in _FILE_APIS:
            raise KdError(f"A file I/O payload names the unknown api {api:#x}.")
        path = payload[_FILE_HEADER:].decode("utf-16-le", "replace") if api == FILE_CREATE else ""
        return cls(_FILE_APIS[api], path.partition("\0")[0], status, payload[:_FILE_HEADER])

    def refusal(self) -> bytes:
        """The payload that says there is no such file: the kernel then takes its own."""
        return self.header[:4] + struct.pack("<I", STATUS_NO_SUCH_FILE) + self.header[8:]

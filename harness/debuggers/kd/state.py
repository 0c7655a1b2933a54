"""The kernel's report of a halt: KD packet type 7, the 64-bit state change."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from harness.errors import KdError

EXCEPTION = 0x3030
LOAD_SYMBOLS = 0x3031
COMMAND_STRING = 0x3032
STATUS_BREAKPOINT = 0x80000003
STATUS_SINGLE_STEP = 0x80000004
STATUS_ASSERTION_FAILURE = 0xC0000420
_FIXED = struct.Struct("<IHHI4xQQ")
_EXCEPTION = struct.Struct("<IIQQI4x15Q")
_SYMBOLS = struct.Struct("<I4xQQIIB")
_UNION = 32
_FIRST_CHANCE = 184
_REPORT = 192
_INSTRUCTIONS = _REPORT + 24
SIZE = 240


@dataclass(frozen=True)
class ExceptionRecord:
    """An exception; `information` has only the parameters that are in use."""

    code: int
    address: int
    information: tuple[int, ...]
    first_chance: bool


@dataclass(frozen=True)
class Symbols:
    """An image that was loaded or unloaded; `path` is empty when the kernel names none."""

    path: str
    base: int
    size: int
    checksum: int
    unload: bool


@dataclass(frozen=True)
class StateChange:
    """The target has halted and answers requests until it is continued.

    `dr7` and `instructions` (up to 16 bytes at `pc`) are as an x64 kernel reports them.
    """

    processor_level: int
    processor: int
    processors: int
    thread: int
    pc: int
    dr7: int
    instructions: bytes
    exception: ExceptionRecord | None = None
    symbols: Symbols | None = None

    @classmethod
    def parse(cls, payload: bytes) -> StateChange:
        """Raises KdError for a payload that is no state change."""
        if len(payload) < SIZE:
            raise KdError(f"A state change of {len(payload)} bytes is cut short.")
        state, level, processor, processors, thread, pc = _FIXED.unpack_from(payload)
        if state not in (EXCEPTION, LOAD_SYMBOLS, COMMAND_STRING):
            raise KdError(f"A state change has the unknown type {state:#x}.")
        (dr7,) = struct.unpack_from("<Q", payload, _REPORT + 8)
        (count,) = struct.unpack_from("<H", payload, _REPORT + 20)
        return cls(
            level,
            processor,
            processors,
            thread,
            pc,
            dr7,
            payload[_INSTRUCTIONS : _INSTRUCTIONS + min(count, 16)],
            _exception(payload) if state == EXCEPTION else None,
            _symbols(payload) if state == LOAD_SYMBOLS else None,
        )


def _exception(payload: bytes) -> ExceptionRecord:
    code, _flags, _record, address, count, *information = _EXCEPTION.unpack_from(payload, _UNION)
    (first,) = struct.unpack_from("<I", payload, _FIRST_CHANCE)
    return ExceptionRecord(code, address, tuple(information[: min(count, 15)]), first != 0)


def _symbols(payload: bytes) -> Symbols:
    length, base, _process, checksum, size, unload = _SYMBOLS.unpack_from(payload, _UNION)
    if length > len(payload) - SIZE:
        raise KdError(f"A load-symbols path of {length} bytes is longer than the packet it is in.")
    path = payload[len(payload) - length :].partition(b"\0")[0].decode("utf-8", "backslashreplace")
    return Symbols(path, base, size, checksum, unload != 0)

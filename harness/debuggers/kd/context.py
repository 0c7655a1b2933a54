"""The processor's registers in an x64 CONTEXT record, and the offsets of those that are read."""

from __future__ import annotations

import struct

from harness.errors import KdError

AMD64 = 0x8664
SIZE = 0x4D0
_PC = 0xF8
_FIRST = ("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi")
_NAMES = (*_FIRST, *(f"r{number}" for number in range(8, 16)))
_REGISTERS = {name: 0x78 + 8 * index for index, name in enumerate(_NAMES)} | {"rip": _PC}


def registers(context: bytes) -> dict[str, int]:
    """Register values by lower-case name, `eflags` included.

    Raises:
        KdError: the record is cut short.
    """
    if len(context) < _PC + 8:
        raise KdError(f"A CONTEXT record of {len(context)} bytes is too short to hold the registers.")
    values = {name: struct.unpack_from("<Q", context, offset)[0] for name, offset in _REGISTERS.items()}
    (values["eflags"],) = struct.unpack_from("<I", context, 0x44)
    return values


def with_registers(context: bytes, **values: int) -> bytes:
    """A copy of the record with other values in some registers."""
    changed = bytearray(context)
    for name, value in values.items():
        struct.pack_into("<Q", changed, _REGISTERS[name], value)
    return bytes(changed)

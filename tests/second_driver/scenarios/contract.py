"""The driver's IOCTL contract, generated from second_contract.h. Do not edit.

Regenerate with `python -m harness.contract`; meanings of the control codes are in the header.
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

CONTRACT_VERSION = 1
CONTRACT_HASH = bytes.fromhex("846ca80f5596f331efbcd05268ac9baf4ce9d6e454cb6677682bab965a7ed5d3")


class Device(enum.StrEnum):
    """Win32 path of each device."""

    SECOND = r"\\.\Second"


class SecondIoctl(enum.IntEnum):
    """Control codes of `Device.SECOND`."""

    HELLO = 0x00222000
    COUNTERS = 0x00226004
    CLEAR = 0x0022A008
    BUGCHECK = 0x0022A00C


class Hello(ctypes.Structure):
    """36 bytes."""

    version: int
    hash: ctypes.Array[ctypes.c_uint8]
    _fields_ = (
        ("version", ctypes.c_uint32),
        ("hash", ctypes.c_uint8 * 32),
    )


class Counters(ctypes.Structure):
    """12 bytes."""

    reads: int
    writes: int
    length: int
    _fields_ = (
        ("reads", ctypes.c_uint32),
        ("writes", ctypes.c_uint32),
        ("length", ctypes.c_uint32),
    )


class Bugcheck(ctypes.Structure):
    """40 bytes."""

    code: int
    reserved: int
    parameters: ctypes.Array[ctypes.c_uint64]
    _fields_ = (
        ("code", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("parameters", ctypes.c_uint64 * 4),
    )


TEXT_LIMIT = 256
HELLO_DEVICE = Device.SECOND
HELLO_CODE = SecondIoctl.HELLO

_LAYOUT: dict[Any, tuple[int, dict[str, int]]] = {
    Hello: (36, {"version": 0, "hash": 4}),
    Counters: (12, {"reads": 0, "writes": 4, "length": 8}),
    Bugcheck: (40, {"code": 0, "reserved": 4, "parameters": 8}),
}
for _structure, (_size, _offsets) in _LAYOUT.items():
    assert ctypes.sizeof(_structure) == _size, _structure
    for _name, _offset in _offsets.items():
        assert getattr(_structure, _name).offset == _offset, (_structure, _name)

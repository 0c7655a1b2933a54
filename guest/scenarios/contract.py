# ruff: noqa: N815 (member names are the contract's)
"""The driver's IOCTL contract, generated from winvm_contract.h. Do not edit.

Regenerate with `python -m harness.contract`; meanings of the control codes are in the header.
"""
# pyright: basic

from __future__ import annotations

import ctypes
import enum
from typing import Any

CONTRACT_VERSION = 1
CONTRACT_HASH = bytes.fromhex("95641a54b39ddbc69020663f793b9ecf80213be6e5d251cf461f1cdf29fe5452")


class Device(enum.StrEnum):
    """Win32 path of each device."""

    WINVM = r"\\.\Winvm"
    CR42 = r"\\.\CR42VirtualRegister"
    LYSHARK = r"\\.\LySharkDriver"
    WINDDK = r"\\.\WinDDK"
    PROCLOOK = r"\\.\Symboliclnk"
    MSGBOARD = r"\\.\MsgBoard"
    SYNC = r"\\.\LySharkSync"
    ASYNC = r"\\.\LySharkAsync"
    FAULT = r"\\.\WinvmFault"


class WinvmIoctl(enum.IntEnum):
    """Control codes of `Device.WINVM`."""

    HELLO = 0x00222000


class Cr42Ioctl(enum.IntEnum):
    """Control codes of `Device.CR42`."""

    GET_R1 = 0x00222000
    GET_R2 = 0x00222004
    GET_R3 = 0x00222008
    SET_R1 = 0x0022200C
    SET_R2 = 0x00222010
    SET_R3 = 0x00222014
    GET_R1_IN_DIRECT = 0x00222041
    GET_R2_IN_DIRECT = 0x00222045
    GET_R3_IN_DIRECT = 0x00222049
    SET_R1_IN_DIRECT = 0x0022204D
    SET_R2_IN_DIRECT = 0x00222051
    SET_R3_IN_DIRECT = 0x00222055
    GET_R1_OUT_DIRECT = 0x00222082
    GET_R2_OUT_DIRECT = 0x00222086
    GET_R3_OUT_DIRECT = 0x0022208A
    SET_R1_OUT_DIRECT = 0x0022208E
    SET_R2_OUT_DIRECT = 0x00222092
    SET_R3_OUT_DIRECT = 0x00222096
    GET_R1_NEITHER = 0x002220C3
    GET_R2_NEITHER = 0x002220C7
    GET_R3_NEITHER = 0x002220CB
    SET_R1_NEITHER = 0x002220CF
    SET_R2_NEITHER = 0x002220D3
    SET_R3_NEITHER = 0x002220D7
    ADD_R1 = 0x00222100
    ADD_R2 = 0x00222104
    ADD_R3 = 0x00222108


class WinddkIoctl(enum.IntEnum):
    """Control codes of `Device.WINDDK`."""

    MAP = 0x00222014
    FILL_HEAP = 0x00222018


class ProclookIoctl(enum.IntEnum):
    """Control codes of `Device.PROCLOOK`."""

    NEWEST = 0x00222004
    NEXT = 0x00226008


class MsgboardIoctl(enum.IntEnum):
    """Control codes of `Device.MSGBOARD`."""

    SHOW = 0x00222006
    GET = 0x0022200A
    LOOKUP = 0x0022200E
    SHOW_IN_DIRECT = 0x00222005
    GET_IN_DIRECT = 0x00222009
    LOOKUP_IN_DIRECT = 0x0022200D


class FaultIoctl(enum.IntEnum):
    """Control codes of `Device.FAULT`."""

    ARM = 0x0022A400
    BUGCHECK = 0x0022A404
    NULL_WRITE = 0x0022A408
    FREED_POINTER = 0x0022A40C
    WRONG_IRQL = 0x0022A410
    DOUBLE_COMPLETE = 0x0022A414
    POOL_OVERRUN = 0x0022A418
    HANG = 0x0022A41C
    STEP = 0x0022A420


class Hello(ctypes.Structure):
    """48 bytes."""

    size: int
    version: int
    fault_build: int
    reserved: int
    hash: ctypes.Array[ctypes.c_uint8]
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("version", ctypes.c_uint32),
        ("fault_build", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
        ("hash", ctypes.c_uint8 * 32),
    )


class Registers(ctypes.Structure):
    """12 bytes."""

    r1: int
    r2: int
    r3: int
    _fields_ = (
        ("r1", ctypes.c_int32),
        ("r2", ctypes.c_int32),
        ("r3", ctypes.c_int32),
    )


class User(ctypes.Structure):
    """516 bytes."""

    username: bytes
    password: bytes
    count: int
    _fields_ = (
        ("username", ctypes.c_char * 256),
        ("password", ctypes.c_char * 256),
        ("count", ctypes.c_int32),
    )


class HeapRequest(ctypes.Structure):
    """16 bytes."""

    nSize: int
    BufferPtr: int
    _fields_ = (
        ("nSize", ctypes.c_uint64),
        ("BufferPtr", ctypes.c_uint64),
    )


class HeapRequest32(ctypes.Structure):
    """8 bytes."""

    nSize: int
    BufferPtr: int
    _fields_ = (
        ("nSize", ctypes.c_uint32),
        ("BufferPtr", ctypes.c_uint32),
    )


class ProcessRecord(ctypes.Structure):
    """8 bytes."""

    PID: int
    PPID: int
    _fields_ = (
        ("PID", ctypes.c_uint32),
        ("PPID", ctypes.c_uint32),
    )


class ProcessNote(ctypes.Structure):
    """24 bytes."""

    pid: int
    parent: int
    created: int
    padding: ctypes.Array[ctypes.c_uint8]
    _fields_ = (
        ("pid", ctypes.c_uint64),
        ("parent", ctypes.c_uint64),
        ("created", ctypes.c_uint8),
        ("padding", ctypes.c_uint8 * 7),
    )


class ProcessEvent(ctypes.Structure):
    """32 bytes."""

    sequence: int
    pid: int
    parent: int
    created: int
    reserved: int
    _fields_ = (
        ("sequence", ctypes.c_uint64),
        ("pid", ctypes.c_uint64),
        ("parent", ctypes.c_uint64),
        ("created", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
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


class Address(ctypes.Structure):
    """8 bytes."""

    address: int
    _fields_ = (("address", ctypes.c_uint64),)


USER_RECORDS = 716
PROCESS_RECORDS = 10
PROCESS_QUEUE_LIMIT = 4096
MESSAGE_LIMIT = 512
MESSAGES_KEPT = 16
SYNC_READ_LIMIT = 20
ASYNC_PERIOD_MS = 50
FAULT_ARM_KEY = 1464224852
FAULT_SEQUENCE_BUGCHECK = 1465273648
GREETING = "hello lyshark"
SYNC_TEXT_A = "hi,lyshark A"
SYNC_TEXT_B = "hi,lyshark B"
SYNC_TEXT_C = "hi,lyshark C"
SYNC_TEXT_D = "hi,lyshark D"
SYNC_TEXT_E = "hi,lyshark E"
USERNAME = "hello zephyr"
PASSWORD = "123456"
PROCESS_EVENT_NAME = "ProcLook"
FAULT_SEQUENCE = (
    3,
    1,
    4,
    1,
    5,
    9,
    2,
    6,
    5,
    3,
    5,
    8,
    9,
    7,
    9,
    3,
    2,
    3,
    8,
    4,
    6,
    2,
    6,
    4,
    3,
    3,
    8,
    3,
    2,
    7,
)
HELLO_DEVICE = Device.WINVM
HELLO_CODE = WinvmIoctl.HELLO

_LAYOUT: dict[Any, tuple[int, dict[str, int]]] = {
    Hello: (48, {"size": 0, "version": 4, "fault_build": 8, "reserved": 12, "hash": 16}),
    Registers: (12, {"r1": 0, "r2": 4, "r3": 8}),
    User: (516, {"username": 0, "password": 256, "count": 512}),
    HeapRequest: (16, {"nSize": 0, "BufferPtr": 8}),
    HeapRequest32: (8, {"nSize": 0, "BufferPtr": 4}),
    ProcessRecord: (8, {"PID": 0, "PPID": 4}),
    ProcessNote: (24, {"pid": 0, "parent": 8, "created": 16, "padding": 17}),
    ProcessEvent: (32, {"sequence": 0, "pid": 8, "parent": 16, "created": 24, "reserved": 28}),
    Bugcheck: (40, {"code": 0, "reserved": 4, "parameters": 8}),
    Address: (8, {"address": 0}),
}
for _structure, (_size, _offsets) in _LAYOUT.items():
    assert ctypes.sizeof(_structure) == _size, _structure
    for _name, _offset in _offsets.items():
        assert getattr(_structure, _name).offset == _offset, (_structure, _name)

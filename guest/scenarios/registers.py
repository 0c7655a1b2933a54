"""CR42's registers, for the scenarios of every transfer type: control codes, packing, get and set.

Codes and the device's name are written out, not imported, because existing programs contain these numbers.
"""

from __future__ import annotations

import struct

from agent import equal
from agent.win32.device import Device

LINK = "CR42VirtualRegister"
REGISTERS = {"r1": 1, "r2": 2, "r3": 3}  # case ids and register numbers

GET = {1: 0x222000, 2: 0x222004, 3: 0x222008}
SET = {1: 0x22200C, 2: 0x222010, 3: 0x222014}


def pack(value: int) -> bytes:
    """A register's value as the device takes it: 4 bytes, signed, least significant first."""
    return struct.pack("<i", value)


def unpack(data: bytes) -> int:
    """The value in exactly 4 bytes from the device."""
    equal(len(data), 4, "bytes of a register value")
    value: int = struct.unpack("<i", data)[0]
    return value


def set_register(device: Device, register: int, value: int) -> None:
    """Sets a register by METHOD_BUFFERED; checks that no output is returned."""
    equal(device.ioctl(SET[register], pack(value)), b"", f"output of SET {register}")


def get_register(device: Device, register: int) -> int:
    """A register's value by METHOD_BUFFERED."""
    return unpack(device.ioctl(GET[register], out=4))


def still_works(device: Device) -> None:
    """Checks that the device stores and returns three values; called at the end of a hostile scenario."""
    for register, value in ((1, 0x0BADCAFE), (2, -2), (3, 7)):
        set_register(device, register, value)
    equal([get_register(device, n) for n in (1, 2, 3)], [0x0BADCAFE, -2, 7], "registers after hostile input")

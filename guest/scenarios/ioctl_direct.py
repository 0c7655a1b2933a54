"""METHOD_IN_DIRECT and METHOD_OUT_DIRECT controls of CR42: the second buffer is described by an MDL."""

from __future__ import annotations

from agent import Context, equal, raises_win32, scenario
from agent.win32 import constants
from scenarios import registers
from scenarios.contract import Cr42Ioctl
from scenarios.registers import REGISTERS, pack

ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH
# The I/O manager's answer to memory it cannot lock: Windows gives the first, Wine the second.
NO_BUFFER = (constants.ERROR_NOACCESS, constants.ERROR_INVALID_USER_BUFFER)
GET_IN = {1: Cr42Ioctl.GET_R1_IN_DIRECT, 2: Cr42Ioctl.GET_R2_IN_DIRECT, 3: Cr42Ioctl.GET_R3_IN_DIRECT}
SET_IN = {1: Cr42Ioctl.SET_R1_IN_DIRECT, 2: Cr42Ioctl.SET_R2_IN_DIRECT, 3: Cr42Ioctl.SET_R3_IN_DIRECT}
GET_OUT = {1: Cr42Ioctl.GET_R1_OUT_DIRECT, 2: Cr42Ioctl.GET_R2_OUT_DIRECT, 3: Cr42Ioctl.GET_R3_OUT_DIRECT}
SET_OUT = {1: Cr42Ioctl.SET_R1_OUT_DIRECT, 2: Cr42Ioctl.SET_R2_OUT_DIRECT, 3: Cr42Ioctl.SET_R3_OUT_DIRECT}


@scenario(cases=REGISTERS)
def in_direct_round_trip(t: Context, register: int) -> None:
    """IN_DIRECT: SET takes the value from the second buffer, GET writes it there; buffered GET agrees."""
    with t.open(registers.LINK) as device:
        for value in (0, -1, 0x7FFFFFFF, -0x80000000):
            second = bytearray(pack(value))
            device.ioctl_into(SET_IN[register], b"", second)
            equal(bytes(second), pack(value), "the second buffer after SET")
            equal(registers.get_register(device, register), value, "the register")
            answer = bytearray(4)
            equal(device.ioctl_into(GET_IN[register], b"", answer), 4, "byte count of GET")
            equal(bytes(answer), pack(value), "the second buffer after GET")


@scenario(cases=REGISTERS, tags=("smoke",))
def out_direct_round_trip(t: Context, register: int) -> None:
    """OUT_DIRECT: SET takes the value from the first buffer, GET writes it to the second."""
    with t.open(registers.LINK) as device:
        for value in (0, -1, 0x7FFFFFFF, -0x80000000):
            equal(device.ioctl(SET_OUT[register], pack(value)), b"", "output of SET")
            equal(registers.get_register(device, register), value, "the register")
            equal(device.ioctl(GET_OUT[register], out=4), pack(value), "output of GET")


@scenario
def in_direct_set_prefers_the_second_buffer(t: Context) -> None:
    """IN_DIRECT SET: the second buffer wins when there is one, else the first buffer counts."""
    with t.open(registers.LINK) as device:
        device.ioctl_into(SET_IN[1], pack(111), bytearray(pack(222)))
        equal(registers.get_register(device, 1), 222, "register 1 set from both buffers")
        device.ioctl(SET_IN[1], pack(333))
        equal(registers.get_register(device, 1), 333, "register 1 set from the first buffer alone")


@scenario(cases=(0, 1, 2, 3))
def short_direct_set_is_refused(t: Context, size: int) -> None:
    """SET with 0 to 3 bytes fails with a length mismatch by either method; a 0-byte buffer has no MDL."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 2, 0x600D)
        with raises_win32(ERROR_BAD_LENGTH):
            device.ioctl(SET_OUT[2], b"\xff" * size)
        with raises_win32(ERROR_BAD_LENGTH):
            device.ioctl(SET_IN[2], b"\xff" * size)
        if size:
            with raises_win32(ERROR_BAD_LENGTH):
                device.ioctl_into(SET_IN[2], b"", bytearray(size))
        equal(registers.get_register(device, 2), 0x600D, "register 2")


@scenario(cases=(0, 1, 2, 3))
def short_direct_get_is_refused(t: Context, size: int) -> None:
    """GET with room for 0 to 3 bytes fails by either direct method and writes nothing."""
    with t.open(registers.LINK) as device, t.memory(8) as memory:
        registers.set_register(device, 3, -1)
        for code in (GET_OUT[3], GET_IN[3]):
            memory.write(b"\x21" * 8)
            with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
                device.ioctl_raw(code, 0, 0, memory.address if size else 0, size)
            equal(memory.read(), b"\x21" * 8, "the output buffer")
        registers.still_works(device)


@scenario(cases=(5, 100, 12288))
def longer_direct_output(t: Context, size: int) -> None:
    """GET into a longer buffer, up to three pages, reports 4 bytes and leaves the rest alone."""
    with t.open(registers.LINK) as device, t.memory(size) as memory:
        registers.set_register(device, 1, 0x0F0E0D0C)
        for code in (GET_OUT[1], GET_IN[1]):
            memory.write(b"\xb7" * size)
            equal(device.ioctl_raw(code, 0, 0, memory.address, size), 4, "byte count")
            equal(memory.read(), pack(0x0F0E0D0C) + b"\xb7" * (size - 4), "the output buffer")


@scenario
def value_across_a_page_boundary(t: Context) -> None:
    """A register value that straddles two pages is moved whole in both directions."""
    with t.open(registers.LINK) as device, t.memory(8192) as memory:
        for offset in (4093, 4094, 4095):
            address = memory.address + offset
            memory.write(pack(-offset), offset)
            device.ioctl_raw(SET_IN[1], 0, 0, address, 4)
            equal(registers.get_register(device, 1), -offset, f"register 1 set from offset {offset}")
            memory.write(b"\0" * 4, offset)
            equal(device.ioctl_raw(GET_OUT[1], 0, 0, address, 4), 4, "byte count")
            equal(memory.read(4, offset), pack(-offset), f"GET at offset {offset}")


@scenario(cases={"read_only": constants.PAGE_READONLY, "no_access": constants.PAGE_NOACCESS})
def unwritable_output_is_refused(t: Context, protection: int) -> None:
    """OUT_DIRECT into memory that cannot be locked for writing fails before the driver touches it."""
    with t.open(registers.LINK) as device, t.memory(4096) as memory:
        registers.set_register(device, 1, 77)
        memory.protect(protection)
        with raises_win32(*NO_BUFFER):
            device.ioctl_raw(GET_OUT[1], 0, 0, memory.address, 4)
        memory.protect(constants.PAGE_READWRITE)
        equal(memory.read(4), b"\0\0\0\0", "the buffer")
        registers.still_works(device)


@scenario(cases={"null": 0, "unmapped": 0x1000})
def direct_buffer_without_memory(t: Context, address: int) -> None:
    """A second buffer with a length but no memory, hence perhaps no MDL, fails in both directions."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 88)
        for code in (GET_OUT[1], SET_IN[1], GET_IN[1]):
            with raises_win32(*NO_BUFFER, constants.ERROR_NO_SYSTEM_RESOURCES):
                device.ioctl_raw(code, 0, 0, address, 4)
        equal(registers.get_register(device, 1), 88, "register 1")


@scenario
def all_transfer_types_share_the_registers(t: Context) -> None:
    """A value set by any transfer type is read back by every other."""
    neither = (Cr42Ioctl.SET_R2_NEITHER, Cr42Ioctl.GET_R2_NEITHER)
    pairs = (
        (registers.SET[2], registers.GET[2]),
        (SET_IN[2], GET_IN[2]),
        (SET_OUT[2], GET_OUT[2]),
        neither,
    )
    with t.open(registers.LINK) as device:
        for number, (set_code, _) in enumerate(pairs, start=1):
            device.ioctl(set_code, pack(-number))
            values = [device.ioctl(get_code, out=4) for _, get_code in pairs]
            equal(values, [pack(-number)] * 4, f"register 2 after 0x{set_code:X}")

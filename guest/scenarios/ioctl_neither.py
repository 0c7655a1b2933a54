"""METHOD_NEITHER controls of CR42: the driver is handed the caller's own pointers and must not trust them.

Wine passes copies, and refuses bad pointers before the driver sees them. Only the scenarios that need
`caller-address-space` therefore test what the driver does with a hostile pointer.
"""

from __future__ import annotations

import threading

from agent import Context, Win32Error, equal, one_of, raises_win32, scenario
from agent.win32 import constants
from scenarios import registers
from scenarios.contract import Cr42Ioctl
from scenarios.registers import REGISTERS, pack

ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH
GET = {1: Cr42Ioctl.GET_R1_NEITHER, 2: Cr42Ioctl.GET_R2_NEITHER, 3: Cr42Ioctl.GET_R3_NEITHER}
SET = {1: Cr42Ioctl.SET_R1_NEITHER, 2: Cr42Ioctl.SET_R2_NEITHER, 3: Cr42Ioctl.SET_R3_NEITHER}
NOWHERE = {"null": 0, "low": 0x1000, "kernel": constants.KERNEL_ADDRESS, "non_canonical": 0x0000800000000000}


@scenario(cases=REGISTERS, tags=("smoke",))
def set_then_get(t: Context, register: int) -> None:
    """SET n, then GET n, by METHOD_NEITHER gives the value back; buffered GET agrees."""
    with t.open(registers.LINK) as device:
        for value in (0, -1, 0x7FFFFFFF, -0x80000000):
            equal(device.ioctl(SET[register], pack(value)), b"", "output of SET")
            equal(device.ioctl(GET[register], out=4), pack(value), "output of GET")
            equal(registers.get_register(device, register), value, "the register")


@scenario(cases=(0, 1, 2, 3))
def short_buffers_are_refused(t: Context, size: int) -> None:
    """SET with 0 to 3 bytes and GET with room for 0 to 3 fail; neither buffer nor register changes."""
    with t.open(registers.LINK) as device, t.memory(8) as memory:
        registers.set_register(device, 1, 0x7E57)
        memory.write(b"\x9c" * 8)
        address = memory.address if size else 0
        with raises_win32(ERROR_BAD_LENGTH):
            device.ioctl_raw(SET[1], address, size, 0, 0)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl_raw(GET[1], 0, 0, address, size)
        equal(memory.read(), b"\x9c" * 8, "the buffer")
        equal(registers.get_register(device, 1), 0x7E57, "register 1")


@scenario
def longer_buffers(t: Context) -> None:
    """SET takes 4 bytes of a longer input, GET fills 4 bytes of a longer output and reports 4."""
    with t.open(registers.LINK) as device, t.memory(64) as memory:
        device.ioctl(SET[2], pack(2718281) + b"\xff" * 60)
        memory.write(b"\x66" * 64)
        equal(device.ioctl_raw(GET[2], 0, 0, memory.address, 64), 4, "byte count")
        equal(memory.read(), pack(2718281) + b"\x66" * 60, "the output buffer")


@scenario
def unaligned_and_guarded_pointers(t: Context) -> None:
    """Odd addresses, and buffers that end where accessible memory ends, are good pointers."""
    with t.open(registers.LINK) as device, t.memory(4, guarded=True) as edge, t.memory(16) as odd:
        edge.write(pack(-31337))
        device.ioctl_raw(SET[1], edge.address, 4, 0, 0)
        for offset in (1, 2, 3):
            equal(device.ioctl_raw(GET[1], 0, 0, odd.address + offset, 4), 4, "byte count")
            equal(odd.read(4, offset), pack(-31337), f"GET at offset {offset}")
        odd.write(pack(99), 1)
        device.ioctl_raw(SET[1], odd.address + 1, 4, 0, 0)
        equal(registers.get_register(device, 1), 99, "register 1 set from an odd address")
        equal(device.ioctl_raw(GET[1], 0, 0, edge.address, 4), 4, "byte count at the edge")
        equal(edge.read(), pack(99), "GET at the edge")


@scenario
def set_and_get_without_the_other_buffer(t: Context) -> None:
    """SET ignores an output buffer, and GET ignores an input buffer; both also work without it."""
    with t.open(registers.LINK) as device:
        equal(device.ioctl(SET[3], pack(5150), 32), b"", "output of SET with 32 bytes of room")
        equal(device.ioctl(GET[3], b"\xee" * 32, 4), pack(5150), "output of GET with 32 bytes of input")


@scenario(needs=("caller-address-space",), cases=NOWHERE)
def set_from_a_bad_pointer(t: Context, address: int) -> None:
    """SET from NULL, from unmapped memory or from the kernel's own fails; the register is unchanged."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 1234)
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(SET[1], address, 4, 0, 0)
        equal(registers.get_register(device, 1), 1234, "register 1")
        registers.still_works(device)


@scenario(needs=("caller-address-space",), cases=NOWHERE)
def get_into_a_bad_pointer(t: Context, address: int) -> None:
    """GET into NULL, into unmapped memory or into the kernel's own memory fails and writes nowhere."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 0x41414141)
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(GET[1], 0, 0, address, 4)
        registers.still_works(device)


@scenario(needs=("caller-address-space",))
def zero_length_at_a_kernel_pointer(t: Context) -> None:
    """A kernel pointer with length 0, for which a probe checks nothing, is refused for its length."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 4321)
        with raises_win32(ERROR_BAD_LENGTH):
            device.ioctl_raw(SET[1], constants.KERNEL_ADDRESS, 0, 0, 0)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl_raw(GET[1], 0, 0, constants.KERNEL_ADDRESS, 0)
        equal(registers.get_register(device, 1), 4321, "register 1")


@scenario(needs=("caller-address-space",))
def freed_and_protected_pointers(t: Context) -> None:
    """Freed, inaccessible and read-only memory fails with no access, and nothing else breaks."""
    with t.open(registers.LINK) as device, t.memory(4096) as memory:
        registers.set_register(device, 1, 2468)
        memory.protect(constants.PAGE_READONLY)
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(GET[1], 0, 0, memory.address, 4)
        memory.protect(constants.PAGE_NOACCESS)
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(SET[1], memory.address, 4, 0, 0)
        memory.free()
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(SET[1], memory.address, 4, 0, 0)
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(GET[1], 0, 0, memory.address, 4)
        equal(registers.get_register(device, 1), 2468, "register 1")


@scenario(needs=("caller-address-space",))
def buffer_straddling_into_a_bad_page(t: Context) -> None:
    """A value whose last bytes lie in an inaccessible page is neither read nor written."""
    with t.open(registers.LINK) as device, t.memory(3, guarded=True) as memory:
        registers.set_register(device, 1, 1357)
        for set_length, get_length in ((4, 0), (0, 4)):
            with raises_win32(constants.ERROR_NOACCESS):
                code = SET[1] if set_length else GET[1]
                device.ioctl_raw(
                    code,
                    memory.address if set_length else 0,
                    set_length,
                    memory.address if get_length else 0,
                    get_length,
                )
        equal(registers.get_register(device, 1), 1357, "register 1")


@scenario(needs=("caller-address-space",))
def protection_changed_under_the_driver(t: Context) -> None:
    """While a second thread takes the buffer's access away and gives it back, SET works or is refused."""
    stop = threading.Event()
    outcomes = {"done": 0, "refused": 0}
    with t.open(registers.LINK) as device, t.memory(4096) as memory:
        memory.write(pack(0x22222222))
        registers.set_register(device, 1, 0x11111111)

        def flip() -> None:
            while not stop.is_set():
                memory.protect(constants.PAGE_NOACCESS)
                memory.protect(constants.PAGE_READWRITE)

        flipper = threading.Thread(target=flip, daemon=True)
        flipper.start()
        try:
            for _ in range(500):
                try:
                    device.ioctl_raw(SET[1], memory.address, 4, 0, 0)
                    outcomes["done"] += 1
                except Win32Error as error:
                    equal(error.code, constants.ERROR_NOACCESS, "error of a refused SET")
                    outcomes["refused"] += 1
        finally:
            stop.set()
            flipper.join(t.deadline.remaining())
        t.note(f"{outcomes['done']} done, {outcomes['refused']} refused")
        one_of(registers.get_register(device, 1), (0x11111111, 0x22222222), "register 1")
        registers.still_works(device)


@scenario(needs=("caller-address-space",))
def value_changed_under_the_driver(t: Context) -> None:
    """While a second thread rewrites the input, the register holds one of its two values, never a mixture."""
    stop = threading.Event()
    values = (pack(0x11111111), pack(0x22222222))
    with t.open(registers.LINK) as device, t.memory(8) as memory:
        memory.write(values[0])

        def rewrite() -> None:
            turn = 0
            while not stop.is_set():
                turn ^= 1
                memory.write(values[turn])

        writer = threading.Thread(target=rewrite, daemon=True)
        writer.start()
        try:
            for _ in range(300):
                device.ioctl_raw(SET[2], memory.address, 4, 0, 0)
                one_of(registers.get_register(device, 2), (0x11111111, 0x22222222), "register 2")
        finally:
            stop.set()
            writer.join(t.deadline.remaining())

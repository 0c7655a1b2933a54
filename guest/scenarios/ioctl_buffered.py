"""METHOD_BUFFERED controls of CR42: both buffers travel through one system buffer."""

from __future__ import annotations

from agent import Context, equal, raises_win32, scenario
from agent.win32 import constants
from scenarios import contract, registers
from scenarios.registers import GET, REGISTERS, SET, pack

STATUS_INFO_LENGTH_MISMATCH = 0xC0000004
ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH
ADD = {1: contract.Cr42Ioctl.ADD_R1, 2: contract.Cr42Ioctl.ADD_R2, 3: contract.Cr42Ioctl.ADD_R3}


@scenario(cases=REGISTERS, tags=("smoke",), expect_dbgprint=[r"CR42: r[123] = 168496141"])
def set_then_get(t: Context, register: int) -> None:
    """SET n, then GET n, returns the value, for the limits of a signed int and values next to them."""
    with t.open(registers.LINK) as device:
        for value in (0, 1, -1, 0x7FFFFFFF, -0x80000000, 0x0A0B0C0D):
            equal(device.ioctl(SET[register], pack(value)), b"", "output of SET")
            equal(device.ioctl(GET[register], out=4), pack(value), "output of GET")


@scenario
def registers_are_independent(t: Context) -> None:
    """Setting one register leaves the other two alone, and another handle sees all three."""
    with t.open(registers.LINK) as device, t.open(registers.LINK) as other:
        for register in (1, 2, 3):
            registers.set_register(device, register, 1000 * register)
        registers.set_register(device, 2, -9)
        equal([registers.get_register(other, n) for n in (1, 2, 3)], [1000, -9, 3000], "registers")


@scenario
def set_with_output_and_get_with_input(t: Context) -> None:
    """SET with an output buffer writes nothing to it, and GET with an input buffer does not read it."""
    with t.open(registers.LINK) as device, t.memory(64) as memory:
        memory.write(b"\x77" * 64)
        value = pack(0x5EED)
        with t.memory(4) as source:
            source.write(value)
            count = device.ioctl_raw(SET[1], source.address, 4, memory.address, 64)
        equal((count, memory.read()), (0, b"\x77" * 64), "output of SET")
        equal(device.ioctl(GET[1], b"\x99" * 32, out=4), value, "GET with 32 bytes of input")


@scenario(cases=(0, 1, 2, 3))
def short_set_is_refused(t: Context, size: int) -> None:
    """SET with less than 4 bytes of input fails with a length mismatch and changes nothing."""
    with t.open(registers.LINK) as device:
        for register in (1, 2, 3):
            registers.set_register(device, register, 0x01010101)
            with raises_win32(ERROR_BAD_LENGTH):
                device.ioctl(SET[register], b"\xff" * size)
            equal(registers.get_register(device, register), 0x01010101, f"register {register}")


@scenario(cases=(0, 1, 2, 3))
def short_get_is_refused(t: Context, size: int) -> None:
    """GET with room for less than 4 bytes fails and writes nothing."""
    with t.open(registers.LINK) as device, t.memory(16) as memory:
        registers.set_register(device, 1, -1)
        memory.write(b"\x33" * 16)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl_raw(GET[1], 0, 0, memory.address if size else 0, size)
        equal(memory.read(), b"\x33" * 16, "the output buffer")
        registers.still_works(device)


@scenario(cases=(5, 64, 4096))
def longer_buffers(t: Context, size: int) -> None:
    """SET takes the first 4 bytes of a longer input; GET fills 4 bytes of a longer output, no more."""
    with t.open(registers.LINK) as device, t.memory(size) as memory:
        device.ioctl(SET[3], pack(424242) + b"\xff" * (size - 4))
        memory.write(b"\x44" * size)
        equal(device.ioctl_raw(GET[3], 0, 0, memory.address, size), 4, "byte count of GET")
        equal(memory.read(), pack(424242) + b"\x44" * (size - 4), "the output buffer")


@scenario
def buffers_at_the_end_of_a_page(t: Context) -> None:
    """Buffers that end where accessible memory ends work: no byte past the end is touched."""
    with (
        t.open(registers.LINK) as device,
        t.memory(4, guarded=True) as source,
        t.memory(4, guarded=True) as output,
    ):
        source.write(pack(-1234567))
        equal(device.ioctl_raw(SET[2], source.address, 4, 0, 0), 0, "byte count of SET")
        equal(device.ioctl_raw(GET[2], 0, 0, output.address, 4), 4, "byte count of GET")
        equal(output.read(), pack(-1234567), "output of GET")


@scenario
def native_status_and_information(t: Context) -> None:
    """The driver's own status and byte count are exact, for success and for each refusal."""
    with t.open_native("\\Device\\CR42") as device, t.memory(4) as memory:
        memory.write(pack(31415926))
        address = memory.address
        result = device.ioctl(SET[1], address, 4, 0, 0)
        equal((result.status, result.block_status, result.information), (0, 0, 0), "SET")
        result = device.ioctl(GET[1], 0, 0, address, 4)
        equal((result.status, result.block_status, result.information), (0, 0, 4), "GET")
        equal(device.ioctl(GET[1], 0, 0, address, 3).status, constants.STATUS_BUFFER_TOO_SMALL, "GET of 3")
        equal(device.ioctl(SET[1], address, 3, 0, 0).status, STATUS_INFO_LENGTH_MISMATCH, "SET of 3")
        equal(
            device.ioctl(0x223FFC, address, 4, address, 4).status,
            constants.STATUS_INVALID_DEVICE_REQUEST,
            "function 0xFFF",
        )


@scenario(cases={"null": 0, "unmapped": 0x1000})
def bad_input_address(t: Context, address: int) -> None:
    """An input address where there is no memory fails before it is used; the register keeps its value."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 55)
        # Windows treats NULL as no input, whatever the length; the driver then finds the input too short.
        with raises_win32(constants.ERROR_NOACCESS, *(() if address else (ERROR_BAD_LENGTH,))):
            device.ioctl_raw(SET[1], address, 4, 0, 0)
        equal(registers.get_register(device, 1), 55, "register 1")
        registers.still_works(device)


@scenario(cases={"function_0x7ff": 0x221FFC, "function_0x806": 0x222018, "device_type_0x23": 0x232000})
def unknown_code_is_refused(t: Context, code: int) -> None:
    """A control code that is not CR42's fails with invalid function and changes nothing."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 606)
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.ioctl(code, pack(1), 4)
        equal(registers.get_register(device, 1), 606, "register 1")


@scenario(cases=REGISTERS)
def add_returns_the_sum(t: Context, register: int) -> None:
    """ADD returns and stores the sum, wrapping as a 32-bit signed int does."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, register, 40)
        equal(device.ioctl(ADD[register], pack(2), 4), pack(42), "40 + 2")
        equal(device.ioctl(ADD[register], pack(-43), 4), pack(-1), "42 - 43")
        registers.set_register(device, register, 0x7FFFFFFF)
        equal(device.ioctl(ADD[register], pack(1), 4), pack(-0x80000000), "the largest value + 1")
        equal(registers.get_register(device, register), -0x80000000, "the register")


@scenario
def concurrent_additions_lose_none(t: Context) -> None:
    """Four threads of 40 increments each, on handles of their own, add up to 160: no update is lost."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 0)

        def increment(_index: int) -> list[int]:
            with t.open(registers.LINK) as own:
                return [registers.unpack(own.ioctl(ADD[1], pack(1), 4)) for _ in range(40)]

        sums = t.threads(4, increment)
        equal(registers.get_register(device, 1), 160, "the sum of all increments")
        equal(sorted(value for part in sums for value in part), list(range(1, 161)), "sums handed out")

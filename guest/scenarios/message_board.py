"""MsgBoard: SHOW, GET and LOOKUP of messages by METHOD_OUT_DIRECT, and the same by METHOD_IN_DIRECT."""

from __future__ import annotations

import struct

from agent import Context, equal, raises_win32, scenario
from agent.win32 import constants
from agent.win32.device import Device
from scenarios import contract

KIND = "ioctl_direct"

LINK = "MsgBoard"
SHOW, GET, LOOKUP = 0x222006, 0x22200A, 0x22200E  # functions 0x801..0x803, METHOD_OUT_DIRECT
SHOW_IN, GET_IN, LOOKUP_IN = 0x222005, 0x222009, 0x22200D  # the same with METHOD_IN_DIRECT

ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH


def show(device: Device, text: bytes) -> int:
    """Shows a message; returns its number."""
    answer = device.ioctl(SHOW, text, 4)
    equal(len(answer), 4, "bytes of a message number")
    number: int = struct.unpack("<I", answer)[0]
    return number


def lookup(device: Device, number: int, room: int = contract.MESSAGE_LIMIT) -> bytes:
    """The text of message `number`."""
    return device.ioctl(LOOKUP, struct.pack("<I", number), room)


@scenario(expect_dbgprint=[r"MsgBoard: show 23 bytes: the scenario says hello"], tags=("smoke",))
def show_then_get(t: Context) -> None:
    """A shown message is logged, and comes back from GET byte by byte, without a terminator."""
    with t.open(LINK) as device:
        equal(device.ioctl(SHOW, b"the scenario says hello"), b"", "output of SHOW without an output buffer")
        equal(device.ioctl(GET, out=512), b"the scenario says hello", "output of GET")


@scenario
def numbers_count_up(t: Context) -> None:
    """Messages are numbered one after the other, and each is looked up by its number."""
    with t.open(LINK) as device:
        texts = [b"message %d" % n for n in range(5)]
        numbers = [show(device, text) for text in texts]
        equal(numbers, list(range(numbers[0], numbers[0] + 5)), "numbers of five messages")
        equal([lookup(device, number) for number in numbers], texts, "texts looked up")
        equal(device.ioctl(GET, out=512), texts[-1], "the newest message")


@scenario
def only_the_newest_sixteen_are_kept(t: Context) -> None:
    """The last 16 messages can be looked up; an older one, one to come and the largest number cannot."""
    with t.open(LINK) as device:
        numbers = [show(device, b"kept %d" % n) for n in range(17)]
        equal([lookup(device, n) for n in numbers[1:]], [b"kept %d" % n for n in range(1, 17)], "16 texts")
        for number in (numbers[0], numbers[-1] + 1, 0xFFFFFFFF):
            with raises_win32(constants.ERROR_NOT_FOUND):
                lookup(device, number)


@scenario(cases=(1, 10, 38))
def get_cuts_to_the_room(t: Context, room: int) -> None:
    """A message longer than the output is cut to it, with ERROR_MORE_DATA and not one byte too many."""
    text = b"a message longer than the room for it.."
    with t.open(LINK) as device, t.memory(64) as memory:
        number = show(device, text)
        for code, data in ((GET, b""), (LOOKUP, struct.pack("<I", number))):
            memory.write(b"\xcc" * 64)
            with t.memory(4) as source, raises_win32(constants.ERROR_MORE_DATA):
                source.write(data)
                device.ioctl_raw(code, source.address, len(data), memory.address, room)
            equal(memory.read(), text[:room].ljust(64, b"\xcc"), "the output buffer")
        equal(device.ioctl(GET, out=len(text)), text, "GET with exactly enough room")


@scenario
def cut_is_a_warning_with_the_count(t: Context) -> None:
    """The native status of a cut message is STATUS_BUFFER_OVERFLOW and Information the bytes that fitted."""
    with t.open(LINK) as device, t.open_native("\\Device\\MsgBoard") as native, t.memory(16) as memory:
        show(device, b"seventeen letters")
        result = native.ioctl(GET, 0, 0, memory.address, 16)
        equal((result.status, result.information), (constants.STATUS_BUFFER_OVERFLOW, 16), "GET of 17 bytes")
        equal(memory.read(), b"seventeen letter", "the output buffer")


@scenario
def zero_length_buffers(t: Context) -> None:
    """Zero-length buffers, which have no MDL: SHOW is refused, GET and LOOKUP give ERROR_MORE_DATA."""
    with t.open(LINK) as device:
        number = show(device, b"still here")
        for code in (SHOW, SHOW_IN):
            with raises_win32(ERROR_BAD_LENGTH):
                device.ioctl(code)
        with raises_win32(constants.ERROR_MORE_DATA):
            device.ioctl(GET)
        with raises_win32(constants.ERROR_MORE_DATA):
            device.ioctl(LOOKUP, struct.pack("<I", number))
        equal(device.ioctl(GET, out=512), b"still here", "the newest message")


@scenario
def longest_message(t: Context) -> None:
    """512 bytes are a message, 513 are refused by either transfer type and not kept."""
    with t.open(LINK) as device:
        longest = bytes(33 + n % 90 for n in range(512))
        number = show(device, longest)
        for size in (513, 4096, 1 << 20):
            with raises_win32(constants.ERROR_INVALID_USER_BUFFER):
                device.ioctl(SHOW, b"x" * size, 4)
            with raises_win32(constants.ERROR_INVALID_USER_BUFFER):
                device.ioctl_into(SHOW_IN, b"", bytearray(b"x" * size))
        equal(device.ioctl(GET, out=1024), longest, "the newest message")
        equal(show(device, b"next"), number + 1, "number of the next message")


@scenario(expect_dbgprint=[r"MsgBoard: show 9 bytes: %s%n%d%x!"])
def message_is_no_format_string(t: Context) -> None:
    """A message of format characters is logged and kept as it is."""
    with t.open(LINK) as device:
        show(device, b"%s%n%d%x!")
        equal(device.ioctl(GET, out=64), b"%s%n%d%x!", "the newest message")


@scenario(cases=(0, 1, 3))
def lookup_with_a_short_number(t: Context, size: int) -> None:
    """LOOKUP with less than 4 bytes of input fails with a length mismatch."""
    with t.open(LINK) as device:
        show(device, b"whole")
        for code in (LOOKUP, LOOKUP_IN):
            with raises_win32(ERROR_BAD_LENGTH):
                device.ioctl(code, b"\0" * size, 64)
        equal(device.ioctl(GET, out=64), b"whole", "the newest message")


@scenario(expect_dbgprint=[r"show 19 bytes: from the 2nd buffer"])
def in_direct_takes_either_buffer(t: Context) -> None:
    """IN_DIRECT: SHOW takes its text from the first buffer, or from the second when the first is empty."""
    with t.open(LINK) as device:
        device.ioctl_into(SHOW_IN, b"", bytearray(b"from the 2nd buffer"))
        equal(device.ioctl(GET, out=64), b"from the 2nd buffer", "text of the second buffer")
        device.ioctl(SHOW_IN, b"from the 1st buffer")
        equal(device.ioctl(GET, out=64), b"from the 1st buffer", "text of the first buffer")
        answer = bytearray(64)
        equal(device.ioctl_into(GET_IN, b"", answer), 19, "byte count of GET by IN_DIRECT")
        equal(bytes(answer), b"from the 1st buffer".ljust(64, b"\0"), "output of GET by IN_DIRECT")


@scenario(needs=("caller-address-space",))
def in_direct_get_respects_read_only_pages(t: Context) -> None:
    """IN_DIRECT locks pages for reading; GET must not write through that into a read-only page."""
    with t.open(LINK) as device, t.memory(4096) as memory:
        show(device, b"must not land")
        memory.protect(constants.PAGE_READONLY)
        with raises_win32(constants.ERROR_NOACCESS):
            device.ioctl_raw(GET_IN, 0, 0, memory.address, 64)
        equal(memory.read(16), b"\0" * 16, "the read-only page")


@scenario
def posters_do_not_mix(t: Context) -> None:
    """Four threads that post at once get different numbers, and each number has its poster's text."""

    def post(index: int) -> list[tuple[int, bytes]]:
        with t.open(LINK) as device:
            texts = [b"poster %d, message %d %s" % (index, n, b"." * (10 * index)) for n in range(4)]
            return [(show(device, text), text) for text in texts]

    posted = sorted(pair for part in t.threads(4, post) for pair in part)
    numbers = [number for number, _ in posted]
    equal(numbers, list(range(numbers[0], numbers[0] + 16)), "numbers handed out")
    with t.open(LINK) as device:
        equal([lookup(device, n) for n in numbers], [text for _, text in posted], "texts looked up")

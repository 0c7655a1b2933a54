"""LySharkSync: ReadFile by direct I/O gives five strings, then the end of data, for each handle."""

from __future__ import annotations

from agent import Context, equal, raises_win32, scenario
from agent.win32 import constants

LINK = "LySharkSync"
TEXTS = [b"hi,lyshark A", b"hi,lyshark B", b"hi,lyshark C", b"hi,lyshark D", b"hi,lyshark E"]
LIMIT = 20  # bytes of one read


@scenario(tags=("smoke",), expect_dbgprint=[r"LySharkSync: read 12 bytes at 48"])
def five_strings_then_the_end(t: Context) -> None:
    """Five reads give "hi,lyshark A" to "hi,lyshark E"; every later read gives 0 bytes."""
    with t.open(LINK) as device:
        equal([device.read(LIMIT) for _ in range(5)], TEXTS, "five reads")
        equal([device.read(LIMIT) for _ in range(3)], [b"", b"", b""], "reads at the end of data")


@scenario(cases=(21, 100, 8192))
def a_read_never_crosses_a_string(t: Context, size: int) -> None:
    """A read with room for more returns one string, and the buffer behind it stays as it was."""
    with t.open(LINK) as device, t.memory(size) as memory:
        for text in TEXTS:
            memory.write(b"\xd4" * size)
            equal(device.read_raw(memory.address, size), len(text), "bytes read")
            equal(memory.read(), text.ljust(size, b"\xd4"), "the buffer")
        equal(device.read(size), b"", "the read after the last string")


@scenario
def each_handle_has_its_position(t: Context) -> None:
    """Two handles read in turns without moving each other; a third, opened later, starts at the beginning."""
    with t.open(LINK) as first, t.open(LINK) as second:
        seen = [device.read(LIMIT) for device in (first, first, second, first, second)]
        equal(seen, [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2], TEXTS[1]], "reads in turns")
        with t.open(LINK) as third:
            equal(third.read(LIMIT), TEXTS[0], "the first read of a new handle")
        equal(first.read(LIMIT), TEXTS[3], "the first handle's next read")


@scenario
def one_byte_at_a_time(t: Context) -> None:
    """Sixty reads of one byte give all five strings; the sixty-first gives the end of data."""
    with t.open(LINK) as device:
        equal(b"".join(device.read(1) for _ in range(60)), b"".join(TEXTS), "60 bytes one by one")
        equal(device.read(1), b"", "the byte after the last")


@scenario(cases=(5, 7, 11))
def odd_lengths(t: Context, size: int) -> None:
    """Reads of an odd length return each string in pieces, and no byte is lost or repeated."""
    with t.open(LINK) as device:
        expected = [text[at : at + size] for text in TEXTS for at in range(0, 12, size)]
        equal([device.read(size) for _ in expected], expected, f"reads of {size} bytes")
        equal(device.read(size), b"", "the read after the last piece")


@scenario
def empty_read_moves_nothing(t: Context) -> None:
    """A read of 0 bytes, which has no MDL, returns 0 bytes and leaves the position alone."""
    with t.open(LINK) as device:
        equal(device.read(0), b"", "an empty read at the start")
        equal(device.read(4), b"hi,l", "the first four bytes")
        equal([device.read(0) for _ in range(3)], [b""] * 3, "empty reads inside a string")
        equal(device.read(LIMIT), b"yshark A", "the rest of the string")


@scenario
def buffer_at_the_end_of_a_page(t: Context) -> None:
    """A buffer that ends where accessible memory ends, or spans two pages, is filled to its last byte."""
    with t.open(LINK) as device, t.memory(12, guarded=True) as edge, t.memory(8192) as pages:
        equal(device.read_raw(edge.address, 12), 12, "bytes read at the edge")
        equal(edge.read(), TEXTS[0], "the buffer at the edge")
        equal(device.read_raw(pages.address + 4091, LIMIT), 12, "bytes read over a page boundary")
        equal(pages.read(12, 4091), TEXTS[1], "the buffer over a page boundary")


@scenario(cases={"read_only": constants.PAGE_READONLY, "no_access": constants.PAGE_NOACCESS})
def unwritable_buffer_is_refused(t: Context, protection: int) -> None:
    """A read into memory that cannot be locked for writing fails, and the next read gets the data."""
    with t.open(LINK) as device, t.memory(4096) as memory:
        memory.protect(protection)
        with raises_win32(constants.ERROR_NOACCESS):
            device.read_raw(memory.address, LIMIT)
        equal(device.read(LIMIT), TEXTS[0], "the next read")


@scenario
def concurrent_reads_share_out_the_strings(t: Context) -> None:
    """Overlapped reads of one handle from four threads get each string exactly once."""
    with t.open(LINK, overlapped=True) as device:

        def read_all(_index: int) -> list[bytes]:
            seen = []
            while text := device.read_async(LIMIT).wait():
                seen.append(text)
            return seen

        seen = [text for part in t.threads(4, read_all) for text in part]
        equal(sorted(seen), TEXTS, "strings read by all threads")


@scenario
def write_is_refused(t: Context) -> None:
    """A write fails with invalid function, and the handle reads on."""
    with t.open(LINK) as device:
        with raises_win32(constants.ERROR_INVALID_FUNCTION):
            device.write(b"nothing takes this")
        equal(device.read(LIMIT), TEXTS[0], "a read afterwards")

"""WinDDK 0x806: the caller passes a pointer to its own heap, and the driver writes ten records there.

All scenarios need `caller-address-space`: if the driver does not run in the caller's address space, the
pointer refers to the memory of the driver's own process.
"""

from __future__ import annotations

import struct

from agent import Context, equal, raises_win32, scenario
from agent.win32 import constants
from agent.win32.device import Device

LINK = "WinDDK"
FILL = 0x222018
BYTES = 80  # ten records {ULONG PID; ULONG PPID}
RECORDS = b"".join(struct.pack("<II", 2 * i, 4 * i) for i in range(10))
NEEDS = ("caller-address-space",)

ERROR_BAD_LENGTH = 24  # what kernel32 makes of STATUS_INFO_LENGTH_MISMATCH


def fill(device: Device, size: int, address: int) -> int:
    """Sends {nSize, BufferPtr}; returns the driver's count of records."""
    answer = device.ioctl(FILL, struct.pack("<QQ", size, address), 4)
    equal(len(answer), 4, "bytes of the count")
    count: int = struct.unpack("<I", answer)[0]
    return count


def still_fills(t: Context, device: Device) -> None:
    """Checks that the ordinary use works; called at the end of a hostile scenario."""
    with t.heap(BYTES) as heap:
        equal(fill(device, BYTES, heap.address), 10, "records")
        equal(heap.read(), RECORDS, "the heap block")


@scenario(needs=NEEDS, tags=("smoke",))
def fills_ten_records(t: Context) -> None:
    """The heap block holds PID = 2i and PPID = 4i for i = 0..9, and the answer is 10."""
    with t.open(LINK) as device, t.heap(BYTES) as heap:
        equal(fill(device, BYTES, heap.address), 10, "records")
        equal(heap.read(), RECORDS, "the heap block")


@scenario(needs=NEEDS, cases=(81, 128, 4096))
def larger_block_keeps_its_rest(t: Context, size: int) -> None:
    """The bytes of a larger block behind the ten records do not change."""
    with t.open(LINK) as device, t.memory(size) as memory:
        memory.write(b"\xab" * size)
        equal(fill(device, size, memory.address), 10, "records")
        equal(memory.read(), RECORDS.ljust(size, b"\xab"), "the block")


@scenario(needs=NEEDS)
def odd_address_at_the_end_of_a_page(t: Context) -> None:
    """A block at an odd address, and one that ends where accessible memory ends, are filled exactly."""
    with t.open(LINK) as device, t.memory(BYTES + 1) as odd, t.memory(BYTES, guarded=True) as edge:
        equal(fill(device, BYTES, odd.address + 1), 10, "records at an odd address")
        equal(odd.read(BYTES, 1), RECORDS, "the block at an odd address")
        equal(fill(device, BYTES, edge.address), 10, "records at the end of a page")
        equal(edge.read(), RECORDS, "the block at the end of a page")


@scenario(needs=NEEDS, cases=(0, 7, 79))
def too_small_a_block(t: Context, size: int) -> None:
    """nSize below ten records is refused, and not one byte of the block is written."""
    with t.open(LINK) as device, t.memory(BYTES) as memory:
        memory.write(b"\x3c" * BYTES)
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            fill(device, size, memory.address)
        equal(memory.read(), b"\x3c" * BYTES, "the block")
        still_fills(t, device)


@scenario(
    needs=NEEDS,
    cases={
        "null": 0,
        "unmapped": 0x1000,
        "non_canonical": 0x0000800000000000,
        "kernel": constants.KERNEL_ADDRESS,
        "top": 0xFFFFFFFFFFFFFFF8,
    },
)
def bad_pointer(t: Context, address: int) -> None:
    """NULL, unmapped, non-canonical and kernel addresses fail with no access, whatever nSize claims."""
    with t.open(LINK) as device:
        for size in (BYTES, 0x7FFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF):
            with raises_win32(constants.ERROR_NOACCESS):
                fill(device, size, address)
        still_fills(t, device)


@scenario(needs=NEEDS)
def freed_and_read_only_pointers(t: Context) -> None:
    """A freed block and a read-only one fail with no access; the read-only one keeps its content."""
    with t.open(LINK) as device, t.memory(4096) as memory:
        memory.protect(constants.PAGE_READONLY)
        with raises_win32(constants.ERROR_NOACCESS):
            fill(device, BYTES, memory.address)
        equal(memory.read(BYTES), b"\0" * BYTES, "the read-only block")
        memory.free()
        with raises_win32(constants.ERROR_NOACCESS):
            fill(device, BYTES, memory.address)
        still_fills(t, device)


@scenario(needs=NEEDS, cases=(1, 40, 79))
def block_running_into_a_bad_page(t: Context, accessible: int) -> None:
    """A block that ends before the nSize bytes it claims to have fails with no access."""
    with t.open(LINK) as device, t.memory(accessible, guarded=True) as memory:
        with raises_win32(constants.ERROR_NOACCESS):
            fill(device, BYTES, memory.address)
        still_fills(t, device)


@scenario(needs=NEEDS, cases=(0, 8, 15))
def short_request(t: Context, size: int) -> None:
    """A request shorter than {nSize, BufferPtr} fails with a length mismatch and writes nothing."""
    with t.open(LINK) as device, t.memory(BYTES) as memory:
        with raises_win32(ERROR_BAD_LENGTH):
            device.ioctl(FILL, struct.pack("<QQ", BYTES, memory.address)[:size], 4)
        equal(memory.read(), b"\0" * BYTES, "the block")


@scenario(needs=NEEDS, cases=(0, 3))
def no_room_for_the_count(t: Context, room: int) -> None:
    """Without room for the count the call fails, and the heap is not written."""
    with t.open(LINK) as device, t.memory(BYTES) as memory:
        with raises_win32(constants.ERROR_INSUFFICIENT_BUFFER):
            device.ioctl(FILL, struct.pack("<QQ", BYTES, memory.address), room)
        equal(memory.read(), b"\0" * BYTES, "the block")
        still_fills(t, device)


@scenario(needs=NEEDS)
def callers_do_not_mix(t: Context) -> None:
    """Four threads with blocks and handles of their own each get their ten records, 25 times."""

    def fill_often(_index: int) -> int:
        with t.open(LINK) as device:
            for _ in range(25):
                still_fills(t, device)
        return 25

    equal(t.threads(4, fill_often), [25] * 4, "blocks filled by each thread")

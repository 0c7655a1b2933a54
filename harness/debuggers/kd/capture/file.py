"""Reads UDP datagrams out of pcap and pcapng files, plain or gzip, one block at a time.

Formats: the pcap file format (microsecond and nanosecond, either byte order) and pcapng with its section,
interface, enhanced, simple and obsolete packet blocks. Frames that are not complete UDP over IP are skipped
and counted.
"""

from __future__ import annotations

import gzip
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.debuggers.kd.capture.udp import FrameCounts
from harness.errors import KdError
from harness.host.regular import open_regular

BLOCK_LIMIT = 1 << 20
"""Largest packet or block, in bytes; those of a network capture are far smaller."""
_INTERFACES_LIMIT = 1024
_PCAP = {b"\xa1\xb2\xc3\xd4": (">", 6), b"\xd4\xc3\xb2\xa1": ("<", 6)}
_PCAP |= {b"\xa1\xb2\x3c\x4d": (">", 9), b"\x4d\x3c\xb2\xa1": ("<", 9)}
_PCAPNG = b"\x0a\x0d\x0d\x0a"


@dataclass(frozen=True, slots=True)
class UdpDatagram:
    """One datagram: number of its frame from 1, UNIX time in seconds, payload."""

    frame: int
    time: float
    payload: bytes


def udp_datagrams(path: Path, counts: FrameCounts | None = None) -> Iterator[UdpDatagram]:
    """The UDP datagrams of a capture, in its order.

    Args:
        path: a pcap or pcapng file, plain or gzip.
        counts: counts the frames that hold none, by reason.

    Raises:
        KdError: the file cannot be read, is no capture, or ends in the middle of a packet.
    """
    with opened(path) as file:
        yield from read_datagrams(file, counts)


FILE_LIMIT = 4 << 30
"""Largest capture or recording, in bytes: a serial line at 115,200 baud takes four days to fill it."""


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """A file to read, unpacked if it is gzip.

    Raises:
        KdError: it cannot be read, or its gzip is damaged.
    """
    try:
        with open_regular(path) as raw:
            if os.fstat(raw.fileno()).st_size > FILE_LIMIT:
                raise KdError(
                    f"{path} is larger than {FILE_LIMIT >> 30} GiB.",
                    remedy="Cut the capture to the time in question, as with editcap -A -B.",
                )
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file: BinaryIO = gzip.GzipFile(fileobj=raw) if zipped else raw  # type: ignore[assignment]
            yield file
    except (OSError, EOFError, zlib.error) as error:
        raise KdError(f"{path} cannot be read: {error}.") from error


def read_datagrams(file: BinaryIO, counts: FrameCounts | None = None) -> Iterator[UdpDatagram]:
    """The UDP datagrams of an open capture; see `udp_datagrams`."""
    counts = FrameCounts() if counts is None else counts
    for number, (time, link, frame, size) in enumerate(_frames(file), 1):
        payload = counts.payload(link, frame, size)
        if payload is not None:
            yield UdpDatagram(number, time, payload)


_Frame = tuple[float, int, bytes, int]
"""UNIX time in seconds, link type, the captured bytes, and the frame's size on the wire."""


def _frames(file: BinaryIO) -> Iterator[_Frame]:
    magic = file.read(4)
    if magic in _PCAP:
        return _pcap(file, *_PCAP[magic])
    if magic == _PCAPNG:
        return _pcapng(file)
    raise KdError(
        "The file is neither pcap nor pcapng.",
        remedy="Save the capture as pcap or pcapng; gzip is allowed. For a serial line, give --serial.",
    )


def _pcap(file: BinaryIO, order: str, digits: int) -> Iterator[_Frame]:
    (link,) = struct.unpack_from(order + "I", _exactly(file, 20), 16)
    while head := file.read(16):
        seconds, fraction, size, original = struct.unpack(order + "IIII", _whole(head, 16))
        yield seconds + fraction / 10**digits, link & 0xFFFF, _exactly(file, size), original


def _pcapng(file: BinaryIO) -> Iterator[_Frame]:
    order = _section(file)
    interfaces: list[tuple[int, float]] = []
    while head := file.read(8):
        if head[:4] == _PCAPNG:
            order, interfaces = _byte_order(_exactly(file, 4)), []
            (size,) = struct.unpack(order + "I", head[4:])
            _block(file, size, 12)
            continue
        kind, size = struct.unpack(order + "II", _whole(head, 8))
        block = _block(file, size, 8)
        if kind == 1 and len(block) >= 8 and len(interfaces) < _INTERFACES_LIMIT:
            interfaces.append((struct.unpack_from(order + "H", block)[0], _resolution(block[8:], order)))
        elif kind in (2, 6) and len(block) >= 20:
            yield from _packet(block, order, interfaces, "HH" if kind == 2 else "I")
        elif kind == 3 and len(block) >= 4 and interfaces:
            (length,) = struct.unpack_from(order + "I", block)
            yield 0.0, interfaces[0][0], block[4 : 4 + length], length


def _section(file: BinaryIO) -> str:
    """Reads the rest of the first section header; returns the byte order."""
    size = _exactly(file, 4)
    order = _byte_order(_exactly(file, 4))
    _block(file, struct.unpack(order + "I", size)[0], 12)
    return order


def _byte_order(mark: bytes) -> str:
    order = {b"\x1a\x2b\x3c\x4d": ">", b"\x4d\x3c\x2b\x1a": "<"}.get(mark)
    if order is None:
        raise KdError("A pcapng section has no byte-order mark.")
    return order


def _block(file: BinaryIO, size: int, consumed: int) -> bytes:
    """The rest of a block of `size` bytes, without the size that ends it."""
    if size < consumed + 4 or size % 4:
        raise KdError(f"A pcapng block has the invalid length {size}.")
    return _exactly(file, size - consumed)[:-4]


def _packet(block: bytes, order: str, interfaces: list[tuple[int, float]], first: str) -> Iterator[_Frame]:
    number = struct.unpack_from(order + first, block)[0]
    high, low, length, original = struct.unpack_from(order + "IIII", block, 4)
    if number < len(interfaces):
        link, unit = interfaces[number]
        yield (high << 32 | low) * unit, link, block[20 : 20 + length], original


def _resolution(options: bytes, order: str) -> float:
    """Seconds in one unit of an interface's time stamps."""
    while len(options) >= 4:
        code, size = struct.unpack_from(order + "HH", options)
        if code == 0:
            break
        if code == 9 and size == 1 and len(options) > 4:
            exponent = options[4] & 0x7F
            return float(2**-exponent if options[4] & 0x80 else 10**-exponent)
        options = options[4 + (size + 3 & ~3) :]
    return 1e-6


def _exactly(file: BinaryIO, size: int) -> bytes:
    if size > BLOCK_LIMIT:
        raise KdError(f"A block of the capture claims {size} bytes, which is too large.")
    return _whole(file.read(size), size)


def _whole(data: bytes, size: int) -> bytes:
    if len(data) < size:
        raise KdError("The capture ends in the middle of a packet.")
    return data

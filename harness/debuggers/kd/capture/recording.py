"""A recorded serial line, both directions: text with one line for each read.

A line holds the seconds since power-on, `T` (from the target) or `H` (from the host), and the bytes in hex:
`2.445072 T 30303030`. Lines are in the order in which the bytes passed; a packet may be spread over many.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from harness.errors import KdError

LINE_LIMIT = 1 << 20
"""Most bytes of one line; one read of a serial port returns a few thousand."""
_LINE = re.compile(rb"(\d{1,12}(?:\.\d{1,9})?) ([TH]) ((?:[0-9A-Fa-f]{2})*)\r?\n?")


@dataclass(frozen=True, slots=True)
class Passed:
    """The bytes of one read: seconds since power-on, and the sender."""

    time: float
    from_host: bool
    data: bytes


def is_recording(beginning: bytes) -> bool:
    """Whether a file that begins with these bytes is such a recording, and not the raw bytes of a line.

    Raw bytes begin with text of the boot loader or with a packet, whose leader is four equal bytes.
    """
    return re.match(rb"\d{1,12}(?:\.\d{1,9})? [TH] (?:[0-9A-Fa-f]|\r?\n)", beginning) is not None


def read_recording(file: BinaryIO) -> Iterator[Passed]:
    """The reads of the recording, in order; holds one line in memory at a time.

    Raises:
        KdError: a line is not of this form, or the last one is cut off; the error has its number.
    """
    number = 0
    while line := file.readline(LINE_LIMIT):
        number += 1
        if not line.strip():
            continue
        if not line.endswith(b"\n") and len(line) < LINE_LIMIT and not _LINE.fullmatch(line):
            raise KdError(
                f"The recording is cut off in its last line, {number}.",
                remedy="All that stands before it was decoded; copy the recording again for the rest.",
            )
        if len(line) == LINE_LIMIT or (found := _LINE.fullmatch(line)) is None:
            raise KdError(
                f"Line {number} of the recording is not `SECONDS T|H HEX`.",
                remedy="Write one line for each read: seconds, T or H for the sender, the bytes in hex.",
            )
        yield Passed(float(found[1]), found[2] == b"H", bytes.fromhex(found[3].decode("ascii")))

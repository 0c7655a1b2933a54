"""What a case reached in the driver: new edges, and the integers that the driver compared.

`driver/instrument/guidance.c` is the other end; its channel stays open while the loop runs.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass
from typing import Self

from agent.errors import NtStatusError
from agent.instrument import GENERIC_READ
from agent.win32.handle import Scope
from agent.win32.native import NativeDevice

PART = 4
CODE = (0x22 << 16) | (1 << 14) | ((0x800 + PART) << 2)
HEAD = struct.Struct("<IIII")  # new edges, new counts, edges so far, pairs that follow
PAIR = struct.Struct("<QQ")
PAIRS = 64
SIZE = HEAD.size + PAIRS * PAIR.size
ASK, FORGET = 0, 1


@dataclass(frozen=True)
class Novelty:
    """edges: that ran for the first time; counts: that ran more often than before; total: so far.

    compared: pairs of different integers that the driver compared.
    """

    edges: int
    counts: int
    total: int
    compared: tuple[tuple[int, int], ...]


class Guidance:
    """The channel of a driver with the instrument; `open` raises `NtStatusError` for one without."""

    def __init__(self, channel: NativeDevice) -> None:
        self._channel = channel
        self._asked = ctypes.c_uint64(0)
        self._answer = ctypes.create_string_buffer(SIZE)

    @classmethod
    def open(cls, service: str, scope: Scope) -> Self:
        """Opens the channel."""
        path = rf"\Device\WinvmInstrument-{service}"
        return cls(NativeDevice.open(path, scope, access=GENERIC_READ))

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def ask(self, what: int = ASK) -> Novelty:
        """What is new since the last call; with `FORGET`, everything is new again.

        Raises:
            NtStatusError: the driver does not answer as the instrument does.
        """
        self._asked.value = what
        result = self._channel.ioctl(
            CODE, ctypes.addressof(self._asked), 8, ctypes.addressof(self._answer), SIZE
        )
        if result.status & 0x80000000 or result.information < HEAD.size:
            raise NtStatusError(result.status, "reading the guidance of the driver")
        return parsed(self._answer.raw[: result.information])


def parsed(answer: bytes) -> Novelty:
    """Reads an answer of the instrument."""
    edges, counts, total, pairs = HEAD.unpack_from(answer)
    pairs = min(pairs, (len(answer) - HEAD.size) // PAIR.size)
    compared = tuple(PAIR.unpack_from(answer, HEAD.size + at * PAIR.size) for at in range(pairs))
    return Novelty(edges, counts, total, compared)

"""KD packets in a serial byte stream (KDCOM): finds them between boot text and line noise, writes them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.debuggers.kd.packets import HEADER, Packet, encode, parse_header
from harness.errors import KdError

TRAILER = b"\xaa"
BREAK_IN = b"b"
_LEADER_SIZE = 4
_LEADER = re.compile(rb"0000|iiii")


@dataclass(frozen=True)
class Damage:
    """A packet that cannot be used: the other side should send it again."""

    reason: str


def serial_bytes(packet: Packet) -> bytes:
    """A packet as it goes over the line; data packets have one byte more than their header announces."""
    return encode(packet) + (b"" if packet.control else TRAILER)


class SerialReader:
    """Cuts a byte stream into packets; holds at most one packet's bytes."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def waiting(self) -> bool:
        """Whether a packet has begun and not ended: the line's silence then means that bytes were lost."""
        return len(self._buffer) >= _LEADER_SIZE

    def give_up(self) -> Damage:
        """Drops the packet that has begun; what follows its leader is looked through again by `feed`."""
        del self._buffer[:1]
        return Damage("The line fell silent in the middle of a packet.")

    def feed(self, data: bytes) -> Iterator[Packet | Damage]:
        """The packets that `data` completes, in order; everything else in between is passed over."""
        self._buffer += data
        while self._synchronise():
            if len(self._buffer) < HEADER.size:
                return
            try:
                packet, size, checksum = parse_header(bytes(self._buffer[: HEADER.size]))
            except KdError:
                # Not a header but text that looks like a leader: look on one byte further.
                del self._buffer[:1]
                continue
            end = HEADER.size + (0 if packet.control else size + len(TRAILER))
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : HEADER.size + size])
            if packet.control:
                del self._buffer[:end]
                yield packet
            elif self._buffer[end - 1 : end] != TRAILER or sum(payload) != checksum:
                # A false start may have swallowed a good packet: only the leader's first byte is given up.
                del self._buffer[:1]
                yield Damage(f"A packet with id {packet.id:#x} has a wrong checksum or no trailer.")
            else:
                del self._buffer[:end]
                yield Packet(packet.type, packet.id, payload)

    def _synchronise(self) -> bool:
        """Drops what comes before a leader; False when there is none yet."""
        if leader := _LEADER.search(self._buffer):
            start = leader.start()
            del leader  # a match keeps the buffer from being resized
            del self._buffer[:start]
            return True
        # The last bytes may be the beginning of a leader.
        del self._buffer[: max(0, len(self._buffer) - _LEADER_SIZE + 1)]
        return False

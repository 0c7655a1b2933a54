"""Finds KD packets in a serial byte stream (KDCOM), among boot text and line noise, and writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from harness.debuggers.kd.packets import HEADER, Damage, Packet, encode, parse_header
from harness.errors import KdError

TRAILER = b"\xaa"
BREAK_IN = b"b"
_LEADER_SIZE = 4
_LEADER = re.compile(rb"0000|iiii")
_LEADER_BEGUN = re.compile(rb"(?:0{1,3}|i{1,3})\Z")


def serial_bytes(packet: Packet) -> bytes:
    """The bytes of a packet on the line; a data packet has one byte more than its header states."""
    return encode(packet) + (b"" if packet.control else TRAILER)


def is_break_in(between: bytes) -> bool:
    """Whether the bytes between two packets are a break-in; a repeated one is still one request."""
    return bool(between) and not between.strip(BREAK_IN)


class SerialReader:
    """Splits a byte stream into packets; buffers at most one packet.

    Args:
        on_between: called with bytes that belong to no packet, as soon as that is known.
    """

    def __init__(self, on_between: Callable[[bytes], None] | None = None) -> None:
        self._buffer = bytearray()
        self._on_between = on_between

    @property
    def waiting(self) -> bool:
        """Whether a packet is incomplete; if the line is silent then, bytes were lost."""
        return len(self._buffer) >= _LEADER_SIZE

    @property
    def empty(self) -> bool:
        """Whether no bytes are buffered: each belonged to a complete packet or to none."""
        return not self._buffer

    def give_up(self) -> Damage:
        """Gives up the incomplete packet; `feed` searches the bytes behind its leader again."""
        del self._buffer[:1]
        return Damage("The line fell silent in the middle of a packet.")

    def feed(self, data: bytes) -> Iterator[Packet | Damage]:
        """The packets that `data` completes, in order; bytes between packets are skipped."""
        self._buffer += data
        while self._synchronise():
            if len(self._buffer) < HEADER.size:
                return
            try:
                packet, size, checksum = parse_header(bytes(self._buffer[: HEADER.size]))
            except KdError:
                # This is text that looks like a leader, not a header: search from the next byte.
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
                # A false leader may stand before a good packet, so only its first byte is dropped.
                del self._buffer[:1]
                yield Damage(f"A packet with id {packet.id:#x} has a wrong checksum or no trailer.")
            else:
                del self._buffer[:end]
                yield Packet(packet.type, packet.id, payload)

    def _synchronise(self) -> bool:
        """Drops the bytes before a leader; False when there is no leader yet."""
        leader = _LEADER.search(self._buffer)
        begun = leader or _LEADER_BEGUN.search(self._buffer)
        start, found = begun.start() if begun else len(self._buffer), leader is not None
        del leader, begun  # a match keeps the buffer from being resized
        if start:
            between = bytes(self._buffer[:start])
            del self._buffer[:start]
            if self._on_between is not None:
                self._on_between(between)
        return found

"""Packet ids: how each transport numbers data packets, and distinguishes new ones from retransmissions."""

from __future__ import annotations

from typing import Protocol

_KDNET_FIRST = 0x80000000
_KDCOM_FIRST = 0x80800000
KDCOM_SYNC = 0x00000800
"""Bit set in the id of the first packet after the target's start."""


class Ids(Protocol):
    """The packet ids of both directions of one session."""

    next: int
    """Id of our next data packet; it stays the same until that packet is acknowledged."""
    in_order: bool
    """Whether the transport keeps the order of packets."""

    def acknowledged(self) -> None:
        """Our packet `next` has arrived."""

    def follow(self, packet_id: int) -> None:
        """Another debugger sent a data packet with this id: ours come after it."""

    def accept(self, packet_id: int, *, repeated: bool = True) -> bool:
        """Whether the target's packet is new; False for one that was accepted before.

        Args:
            packet_id: its number.
            repeated: its payload equals that of the last accepted packet.
        """

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""

    def reset(self, packet_id: int) -> bool:
        """Handles a RESET of the target with this id.

        Returns:
            True when the id of its next packet does not show whether that packet repeats its last one.
        """

    def restart(self) -> None:
        """A new session begins."""


class KdnetIds:
    """KDNET: ids count in steps of two; the host's have bit 31 set."""

    def __init__(self) -> None:
        self.in_order = False
        self.next = _KDNET_FIRST
        self._highest = -1

    def acknowledged(self) -> None:
        """Our packet `next` has arrived."""
        self.follow(self.next)

    def follow(self, packet_id: int) -> None:
        """Another debugger sent a data packet with this id: ours come after it."""
        self.next = _KDNET_FIRST | (packet_id + 2 & 0x7FFFFFFF)

    def accept(self, packet_id: int, *, repeated: bool = True) -> bool:  # noqa: ARG002 - the id suffices
        """Whether the target's packet is new; False for one that was accepted before."""
        if packet_id <= self._highest:
            return False
        self._highest = packet_id
        return True

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""
        return packet_id

    def reset(self, packet_id: int) -> bool:
        """A RESET names the target's next packet, which may be one whose acknowledgement was lost."""
        if packet_id != self._highest:
            self._highest = packet_id - 1
        return False

    def restart(self) -> None:
        """Starts a new session; the target's first id may have any value."""
        self.next = _KDNET_FIRST
        self._highest = -1


class KdcomIds:
    """KDCOM: two ids alternate; the SYNC bit on the first packet of a stream is ignored."""

    def __init__(self) -> None:
        self.in_order = True
        self.next = _KDCOM_FIRST
        self._expected: int | None = None

    def acknowledged(self) -> None:
        """Our packet `next` has arrived."""
        self.next ^= 1

    def follow(self, packet_id: int) -> None:
        """Another debugger sent a data packet with this id: ours come after it."""
        if self.answer(packet_id) & ~1 == _KDCOM_FIRST:
            self.next = self.answer(packet_id) ^ 1

    def accept(self, packet_id: int, *, repeated: bool = True) -> bool:
        """Whether the target's packet is new; False for one that was accepted before.

        A serial line keeps the order, so only the last packet can come again. A different packet with its id
        means that the target started over and its RESET was lost.
        """
        number = self.answer(packet_id)
        if number & ~1 != _KDCOM_FIRST:
            return False  # damaged: no checksum covers the id
        if self._expected not in (number, None):
            if repeated or number != _KDCOM_FIRST:
                return False
            self.restart()
        self._expected = number ^ 1
        return True

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""
        return packet_id & ~KDCOM_SYNC

    def reset(self, packet_id: int) -> bool:  # noqa: ARG002 - the id of a serial RESET means nothing
        """Handles a RESET: both sides start their ids over.

        A running target reads a RESET only while it waits for an acknowledgement, and then repeats its
        packet.
        """
        self.restart()
        self._expected = _KDCOM_FIRST
        return True

    def restart(self) -> None:
        """Starts a new session; a target joined in mid-stream may be at either id."""
        self.next = _KDCOM_FIRST
        self._expected = None

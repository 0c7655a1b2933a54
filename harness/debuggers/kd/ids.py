"""Packet ids: how each transport numbers data packets, and tells a new one from one sent again."""

from __future__ import annotations

from typing import Protocol

_KDNET_FIRST = 0x80000000
_KDCOM_FIRST = 0x80800000
KDCOM_SYNC = 0x00000800
"""Set in the id of the first packet of a target that has started."""


class Ids(Protocol):
    """The numbering of both directions of one session."""

    next: int
    """Id of the next data packet of ours; the same until it is acknowledged."""
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
            repeated: it says what the packet that was accepted last said.
        """

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""

    def reset(self, packet_id: int) -> bool:
        """A RESET with this id came from the target.

        Returns:
            True when the number of its next packet does not tell whether that repeats its last one.
        """

    def restart(self) -> None:
        """A new session begins."""


class KdnetIds:
    """Counters in steps of two; the host's have bit 31 set."""

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

    def accept(self, packet_id: int, *, repeated: bool = True) -> bool:  # noqa: ARG002 - the number tells
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
        """A new session begins; the target's first id may be any."""
        self.next = _KDNET_FIRST
        self._highest = -1


class KdcomIds:
    """Two ids in turn; the SYNC bit on the first packet of a stream does not count."""

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

        A line keeps the order: what comes again is the last packet. Another one with its number means that
        the target started over, and that its RESET was lost.
        """
        number = self.answer(packet_id)
        if number & ~1 != _KDCOM_FIRST:
            return False  # damaged: no checksum covers it
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
        """Both sides start over.

        A running target only hears a RESET while it waits for an acknowledgement, and then repeats itself.
        """
        self.restart()
        self._expected = _KDCOM_FIRST
        return True

    def restart(self) -> None:
        """A new session begins; a target joined in mid-stream may be at either id."""
        self.next = _KDCOM_FIRST
        self._expected = None

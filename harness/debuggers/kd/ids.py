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

    def acknowledged(self) -> None:
        """Our packet `next` has arrived."""

    def follow(self, packet_id: int) -> None:
        """Another debugger sent a data packet with this id: ours come after it."""

    def accept(self, packet_id: int) -> bool:
        """Whether the target's packet is new; False for one that was accepted before."""

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""

    def reset(self, packet_id: int) -> None:
        """A RESET with this id came from the target."""

    def restart(self) -> None:
        """A new session begins."""


class KdnetIds:
    """Counters in steps of two; the host's have bit 31 set."""

    def __init__(self) -> None:
        self.next = _KDNET_FIRST
        self._highest = -1

    def acknowledged(self) -> None:
        """Our packet `next` has arrived."""
        self.follow(self.next)

    def follow(self, packet_id: int) -> None:
        """Another debugger sent a data packet with this id: ours come after it."""
        self.next = _KDNET_FIRST | (packet_id + 2 & 0x7FFFFFFF)

    def accept(self, packet_id: int) -> bool:
        """Whether the target's packet is new; False for one that was accepted before."""
        if packet_id <= self._highest:
            return False
        self._highest = packet_id
        return True

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""
        return packet_id

    def reset(self, packet_id: int) -> None:
        """A RESET names the target's next packet, which may be one whose acknowledgement was lost."""
        if packet_id != self._highest:
            self._highest = packet_id - 1

    def restart(self) -> None:
        """A new session begins; the target's first id may be any."""
        self.next = _KDNET_FIRST
        self._highest = -1


class KdcomIds:
    """Two ids in turn; the SYNC bit on the first packet of a stream does not count."""

    def __init__(self) -> None:
        self.next = _KDCOM_FIRST
        self._expected: int | None = None

    def acknowledged(self) -> None:
        """Our packet `next` has arrived."""
        self.next ^= 1

    def follow(self, packet_id: int) -> None:
        """Another debugger sent a data packet with this id: ours come after it."""
        self.next = self.answer(packet_id) ^ 1

    def accept(self, packet_id: int) -> bool:
        """Whether the target's packet is new; False for one that was accepted before."""
        if self._expected not in (self.answer(packet_id), None):
            return False
        self._expected = self.answer(packet_id) ^ 1
        return True

    def answer(self, packet_id: int) -> int:
        """The id by which a packet of the target is acknowledged."""
        return packet_id & ~KDCOM_SYNC

    def reset(self, packet_id: int) -> None:  # noqa: ARG002 - the id of a serial RESET means nothing
        """Both sides start over."""
        self.restart()
        self._expected = _KDCOM_FIRST

    def restart(self) -> None:
        """A new session begins; a target joined in mid-stream may be at either id."""
        self.next = _KDCOM_FIRST
        self._expected = None

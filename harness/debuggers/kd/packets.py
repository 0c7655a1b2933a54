"""The KD packet: sixteen header bytes and a payload, the same over KDNET and serial.

Layout and numbers: the packet layer of windbgkd.h; all little-endian.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass

from harness.errors import KdError

DATA = 0x30303030
CONTROL = 0x69696969
HEADER = struct.Struct("<IHHII")
PAYLOAD_LIMIT = 4000
"""Largest payload in bytes; no kernel sends more, so a larger count means damage."""


class PacketType(enum.IntEnum):
    """What a packet is for. `ACK`, `RESEND` and `RESET` are control packets, the others carry a payload."""

    UNUSED = 0
    STATE_CHANGE32 = 1
    STATE_MANIPULATE = 2
    DEBUG_IO = 3
    ACK = 4
    RESEND = 5
    RESET = 6
    STATE_CHANGE64 = 7
    POLL_BREAK_IN = 8
    TRACE_IO = 9
    CONTROL_REQUEST = 10
    FILE_IO = 11


@dataclass(frozen=True, slots=True)
class Packet:
    """One KD packet; a control packet (acknowledgement, resend, reset) has no payload."""

    type: int
    id: int
    payload: bytes = b""
    control: bool = False


@dataclass(frozen=True)
class Damage:
    """A damaged packet, which the other side should send again."""

    reason: str


def control(packet_type: PacketType, packet_id: int = 0) -> Packet:
    """An acknowledgement, a request to resend or a reset."""
    return Packet(packet_type, packet_id, control=True)


def encode(packet: Packet) -> bytes:
    """Header and payload, without the serial line's trailing byte."""
    leader = CONTROL if packet.control else DATA
    payload = packet.payload
    return HEADER.pack(leader, packet.type, len(payload), packet.id, sum(payload)) + payload


def parse_header(header: bytes) -> tuple[Packet, int, int]:
    """A packet without its payload, the payload's size in bytes, and the checksum it must have.

    Raises:
        KdError: this is no header of a KD packet.
    """
    leader, packet_type, size, packet_id, checksum = HEADER.unpack(header)
    if leader not in (DATA, CONTROL):
        raise KdError(f"A KD packet begins with {leader:#010x} instead of a packet leader.")
    if not 1 <= packet_type <= PacketType.FILE_IO:
        raise KdError(f"A KD packet has the unknown type {packet_type}.")
    if size > PAYLOAD_LIMIT or (leader == CONTROL and size):
        raise KdError(f"A KD packet of type {packet_type} claims a payload of {size} bytes.")
    return Packet(packet_type, packet_id, control=leader == CONTROL), size, checksum


def parse(body: bytes) -> Packet:
    """Parses `body`, such as that of a KDNET datagram, as one packet.

    Raises:
        KdError: it is not exactly one packet, or its checksum is wrong.
    """
    if len(body) < HEADER.size:
        raise KdError(f"A KD packet of {len(body)} bytes has no header.")
    packet, size, checksum = parse_header(body[: HEADER.size])
    payload = body[HEADER.size :]
    if len(payload) != size:
        raise KdError(f"A KD packet claims a payload of {size} bytes and has {len(payload)}.")
    if packet.control:
        return packet
    if sum(payload) != checksum:
        raise KdError(f"A KD packet with id {packet.id:#x} has a wrong checksum.")
    return Packet(packet.type, packet.id, payload)

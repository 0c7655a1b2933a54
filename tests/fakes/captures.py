"""Capture files with UDP datagrams, as tcpdump and Wireshark write them."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def ethernet(payload: bytes, vlan: bool = False, padding: int = 0, tags: Sequence[int] = ()) -> bytes:
    """A UDP datagram in IPv4 in an Ethernet frame; `tags` are the EtherTypes of its VLAN tags."""
    return bytes(12) + _tags((0x8100,) if vlan else tags) + b"\x08\x00" + ipv4(payload) + bytes(padding)


def _tags(kinds: Sequence[int]) -> bytes:
    return b"".join(struct.pack(">HH", kind, 5) for kind in kinds)


def ipv4(payload: bytes, fragment: int = 0) -> bytes:
    """A UDP datagram in IPv4, without a link layer; `fragment` is the field of flags and offset."""
    udp = struct.pack(">HHHH", 50000, 50000, 8 + len(payload), 0) + payload
    addresses = b"\x0a\0\2\x0f", b"\x0a\0\2\2"
    return struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, fragment, 64, 17, 0, *addresses) + udp


def sll(payload: bytes) -> bytes:
    """A UDP datagram in the frame of a Linux interface, version 1."""
    return bytes(14) + b"\x08\x00" + ipv4(payload)


def sll2(payload: bytes) -> bytes:
    """A UDP datagram in the frame of a Linux interface, version 2."""
    return b"\x08\x00" + bytes(18) + ipv4(payload)


def ipv6(payload: bytes, extensions: Sequence[tuple[int, bytes]] = ()) -> bytes:
    """A UDP datagram in IPv6, without a link layer; `extensions` are (number, header but its first byte)."""
    body = struct.pack(">HHHH", 50000, 50000, 8 + len(payload), 0) + payload
    following = 17
    for number, header in reversed(extensions):
        body = bytes((following,)) + header + body
        following = number
    return struct.pack(">IHBB", 6 << 28, len(body), following, 64) + bytes(32) + body


def pcap(
    frames: Sequence[bytes],
    *,
    order: str = "<",
    nanoseconds: bool = False,
    link: int = 1,
    time: float = 1.5,
    snap: int = 65535,
) -> bytes:
    """A pcap file; every frame has the same time, and is cut after `snap` bytes."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    head = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, snap, link)
    fraction = round(time % 1 * (10**9 if nanoseconds else 10**6))
    records = (
        struct.pack(order + "IIII", int(time), fraction, min(len(f), snap), len(f)) + f[:snap] for f in frames
    )
    return head + b"".join(records)


def pcapng(frames: Sequence[bytes], *, order: str = "<", resolution: int = 6, time: float = 1.5) -> bytes:
    """A pcapng file with one Ethernet interface; `resolution` is the exponent of ten of its time stamps."""

    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        size = struct.pack(order + "I", len(body) + 12)
        return struct.pack(order + "I", kind) + size + body + size

    stamp = round(time * 10**resolution)
    section = block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))
    options = struct.pack(order + "HHB3xHH", 9, 1, resolution, 0, 0)
    interface = block(1, struct.pack(order + "HHI", 1, 0, 0) + options)
    packets = (
        block(6, struct.pack(order + "IIIII", 0, stamp >> 32, stamp & 0xFFFFFFFF, len(f), len(f)) + f)
        for f in frames
    )
    return section + interface + b"".join(packets)

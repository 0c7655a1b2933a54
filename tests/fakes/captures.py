"""Capture files with UDP datagrams, as tcpdump and Wireshark write them."""

from __future__ import annotations

import struct
from collections.abc import Sequence


def ethernet(payload: bytes, vlan: bool = False, padding: int = 0) -> bytes:
    """A UDP datagram in IPv4 in an Ethernet frame."""
    udp = struct.pack(">HHHH", 50000, 50000, 8 + len(payload), 0) + payload
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0, b"\x0a\0\2\x0f", b"\x0a\0\2\2")
    tag = b"\x81\x00\x00\x05" if vlan else b""
    return bytes(12) + tag + b"\x08\x00" + ip + udp + bytes(padding)


def ipv6(payload: bytes) -> bytes:
    """A UDP datagram in IPv6, without a link layer."""
    udp = struct.pack(">HHHH", 50000, 50000, 8 + len(payload), 0) + payload
    return struct.pack(">IHBB", 6 << 28, len(udp), 17, 64) + bytes(32) + udp


def pcap(
    frames: Sequence[bytes], *, order: str = "<", nanoseconds: bool = False, link: int = 1, time: float = 1.5
) -> bytes:
    """A pcap file; every frame has the same time."""
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    head = struct.pack(order + "IHHIIII", magic, 2, 4, 0, 0, 65535, link)
    fraction = round(time % 1 * (10**9 if nanoseconds else 10**6))
    records = (struct.pack(order + "IIII", int(time), fraction, len(f), len(f)) + f for f in frames)
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

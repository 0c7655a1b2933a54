"""The UDP payload of a captured frame, or why there is none.

Link types are those of the pcap registry, EtherTypes and IPv6 extension headers those of IANA.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

_ETHERNET, _LINUX, _LINUX2 = 1, 113, 276
_NO_LINK_LAYER = (12, 101, 228, 229)
"""Raw IP (the value some systems write, and the registered one), IPv4 only, IPv6 only."""
_NULL, _LOOP = 0, 108
KNOWN_LINKS = frozenset({_ETHERNET, _LINUX, _LINUX2, _NULL, _LOOP, *_NO_LINK_LAYER})
_IP = (b"\x08\x00", b"\x86\xdd")
_TAGS = (b"\x81\x00", b"\x88\xa8", b"\x91\x00", b"\x92\x00", b"\x93\x00")
"""VLAN tags: those of 802.1Q and 802.1ad, and those used before 802.1ad."""
_UDP = 17
_FRAGMENT, _AUTHENTICATION = 44, 51
_EXTENSIONS = (0, 43, 60, 135, 139, 140, _FRAGMENT, _AUTHENTICATION)
_EXTENSIONS_LIMIT = 16
_SHORTEST = 20
"""Bytes of the shortest IP header."""


@dataclass
class FrameCounts:
    """Counts the frames of a capture without UDP payload, by reason."""

    frames: int = 0
    cut: int = 0
    fragments: int = 0
    links: Counter[int] = field(default_factory=Counter)

    @property
    def warnings(self) -> list[str]:
        """Notes for the person who made the capture."""
        told = []
        if not self.frames:
            told.append("the capture holds no frames")
        if self.cut:
            told.append(
                f"{self.cut} of {self.frames} frames were cut by the capture's snap length and unusable: "
                "capture whole frames (tcpdump -s 0)"
            )
        if self.fragments:
            told.append(f"{self.fragments} IP fragments were skipped: KDNET datagrams are never fragmented")
        for link, count in sorted(self.links.items()):
            told.append(f"{count} frames have the link type {link}, which is not supported")
        return told

    def payload(self, link: int, frame: bytes, size: int) -> bytes | None:
        """The UDP payload of the next frame, or None; a frame without one is counted by the reason.

        Args:
            link: the link type.
            frame: the bytes that were captured.
            size: the frame's size on the wire, in bytes.
        """
        self.frames += 1
        if link not in KNOWN_LINKS:
            if len(self.links) < 64 or link in self.links:
                self.links[link] += 1
            return None
        packet = _packet(link, frame)
        found = _udp(packet)
        if found is None:
            self.cut += len(frame) < size and len(packet) < _SHORTEST
            return None
        udp, is_fragment = found
        if is_fragment:
            self.fragments += 1
            return None
        payload = _payload(udp)
        if payload is None and len(frame) < size:
            self.cut += 1
        return payload


def _packet(link: int, frame: bytes) -> bytes:
    """The IP packet in a frame; empty when there is none."""
    if link in _NO_LINK_LAYER:
        return frame
    if link in (_NULL, _LOOP):
        return frame[4:]
    if link == _LINUX2:
        return frame[20:] if frame[:2] in _IP else b""
    at = 14 if link == _LINUX else 12
    while frame[at : at + 2] in _TAGS:
        at += 4
    return frame[at + 2 :] if frame[at : at + 2] in _IP else b""


def _udp(packet: bytes) -> tuple[bytes, bool] | None:
    """The UDP datagram with its header, and whether the packet is a fragment; None when it is not UDP."""
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= 20:
        header = (packet[0] & 0xF) * 4
        if header < 20 or packet[9] != _UDP:
            return None
        return packet[header:], bool(int.from_bytes(packet[6:8], "big") & 0x3FFF)
    if version == 6 and len(packet) >= 40:
        return _after_extensions(packet)
    return None


def _after_extensions(packet: bytes) -> tuple[bytes, bool] | None:
    kind, at, is_fragment = packet[6], 40, False
    for _ in range(_EXTENSIONS_LIMIT):
        if kind == _UDP:
            return packet[at:], is_fragment
        if kind not in _EXTENSIONS or len(packet) < at + 8:
            return None
        if kind == _FRAGMENT:
            is_fragment |= bool(int.from_bytes(packet[at + 2 : at + 4], "big") & 0xFFF9)
            size = 8
        else:
            size = (packet[at + 1] + 2) * 4 if kind == _AUTHENTICATION else (packet[at + 1] + 1) * 8
        kind, at = packet[at], at + size
    return None


def _payload(udp: bytes) -> bytes | None:
    """Cut to the length in the UDP header, because a short frame is padded."""
    if len(udp) < 8:
        return None
    size = int.from_bytes(udp[4:6], "big")
    return udp[8:size] if 8 <= size <= len(udp) else None

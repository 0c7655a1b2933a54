"""The only neighbour on the Ethernet of a debugged kernel: frames in, UDP datagrams out, and back; no socket.

It is the host that the kernel's debugger settings name. It answers ARP for its own address, leases one
address by DHCP (without router or name server: there is nothing beyond), and takes UDP for one port.
Everything else that the guest sends is dropped, so that the guest reaches the debugger and nothing more.

Formats: RFC 826 (ARP), RFC 791 (IPv4), RFC 768 (UDP), RFC 2131 and 2132 (DHCP).
"""

from __future__ import annotations

import ipaddress
import struct

from harness.debuggers.kd.net.session import Address

MAC = bytes.fromhex("525400123401")
FRAME_LIMIT = 1514
"""Longest Ethernet frame in bytes, without its check sequence."""
PEERS = 8
_BROADCAST = b"\xff" * 6
_IPV4, _ARP = 0x0800, 0x0806
_ETHERNET = struct.Struct(">6s6sH")
_ARP_BODY = struct.Struct(">HHBBH6s4s6s4s")
_ARP_KIND = (1, _IPV4, 6, 4)
_IP = struct.Struct(">BBHHHBBH4s4s")
_UDP = struct.Struct(">HHHH")
_UDP_NUMBER = 17
_DHCP = struct.Struct(">BBBBIHH4s4s4s4s16s64s128s4s")
_COOKIE = b"\x63\x82\x53\x63"
_SERVER, _CLIENT = 67, 68
_DISCOVER, _OFFER, _REQUEST, _ACK, _NAK, _INFORM = 1, 2, 3, 5, 6, 8
_LEASE_S = 0xFFFFFFFF  # RFC 2131, 3.3: infinity


class Neighbour:
    """Answers one guest.

    Args:
        address: of this host, dotted; `lease` is the guest's, in the same network of 256 addresses.
        port: the UDP port that is listened to.

    Attributes:
        outbox: frames for the guest; the owner takes them away.
    """

    def __init__(self, address: str, lease: str, port: int) -> None:
        self._address = ipaddress.IPv4Address(address).packed
        self._lease = ipaddress.IPv4Address(lease).packed
        self._port = port
        self._macs: dict[bytes, bytes] = {}
        self.outbox: list[bytes] = []

    def receive(self, frame: bytes) -> tuple[bytes, Address] | None:
        """The payload and the source of a UDP datagram for the port; None for every other frame."""
        if not _ETHERNET.size <= len(frame) <= FRAME_LIMIT:
            return None
        to, source, kind = _ETHERNET.unpack_from(frame)
        if to not in (MAC, _BROADCAST):
            return None
        body = frame[_ETHERNET.size :]
        if kind == _ARP:
            self._answer_arp(body)
        elif kind == _IPV4:
            return self._ip(body, source)
        return None

    def send(self, payload: bytes, to: Address) -> None:
        """Puts a datagram for a guest that was heard before into the outbox; drops one that is too long."""
        try:
            address = ipaddress.IPv4Address(to[0]).packed
        except ValueError:
            return
        if mac := self._macs.get(address):
            self._send(payload, mac, address, self._port, to[1])

    def _answer_arp(self, body: bytes) -> None:
        if len(body) < _ARP_BODY.size:
            return
        *kind, operation, mac, sender, _, wanted = _ARP_BODY.unpack_from(body)
        if tuple(kind) != _ARP_KIND or operation != 1 or wanted != self._address:
            return
        reply = _ARP_BODY.pack(*_ARP_KIND, 2, MAC, self._address, mac, sender)
        self.outbox.append(_ETHERNET.pack(mac, MAC, _ARP) + reply)

    def _ip(self, packet: bytes, mac: bytes) -> tuple[bytes, Address] | None:
        if len(packet) < _IP.size:
            return None
        first, _, length, _, fragment, _, protocol, _, source, to = _IP.unpack_from(packet)
        header = (first & 0xF) * 4
        if first >> 4 != 4 or header < _IP.size or not header + _UDP.size <= length <= len(packet):
            return None
        if protocol != _UDP_NUMBER or fragment & 0x3FFF or _checksum(packet[:header]):
            return None
        datagram = packet[header:length]
        from_port, port, size, checksum = _UDP.unpack_from(datagram)
        if not _UDP.size <= size <= len(datagram):
            return None
        datagram = datagram[:size]
        if checksum and _checksum(_pseudo(source, to, size) + datagram):
            return None
        payload = datagram[_UDP.size :]
        if port == _SERVER and from_port == _CLIENT:
            self._answer_dhcp(payload)
        elif port == self._port and to == self._address:
            self._macs.pop(source, None)
            self._macs[source] = mac
            if len(self._macs) > PEERS:
                del self._macs[next(iter(self._macs))]
            return payload, (str(ipaddress.IPv4Address(source)), from_port)
        return None

    def _answer_dhcp(self, body: bytes) -> None:
        if len(body) < _DHCP.size:
            return
        operation, kind, size, _, transaction, _, flags, client, *_, hardware, _, _, cookie = (
            _DHCP.unpack_from(body)
        )
        if (operation, kind, size, cookie) != (1, 1, 6, _COOKIE):
            return
        options = _options(body[_DHCP.size :])
        asked = options.get(53, b"")[:1]
        if asked == bytes((_DISCOVER,)):
            answer = _OFFER
        elif asked == bytes((_INFORM,)):
            answer = _ACK
        elif asked == bytes((_REQUEST,)):
            if options.get(54, self._address) != self._address:
                return  # another server's offer
            wanted = options.get(50, client)
            answer = _ACK if wanted == self._lease else _NAK
        else:
            return
        leased = bytes(4) if answer == _NAK or asked == bytes((_INFORM,)) else self._lease
        head = _DHCP.pack(
            2, 1, 6, 0, transaction, 0, flags, client if answer == _ACK else bytes(4), leased,
            self._address, bytes(4), hardware, b"", b"", _COOKIE,
        )  # fmt: skip
        told = bytes((53, 1, answer, 54, 4)) + self._address
        if answer != _NAK:
            told += bytes((1, 4, 255, 255, 255, 0))
        if leased != bytes(4):
            told += bytes((51, 4)) + struct.pack(">I", _LEASE_S)
        direct = leased != bytes(4) and not flags & 0x8000
        mac, to = (hardware[:6], leased) if direct else (_BROADCAST, b"\xff" * 4)
        self._send((head + told + b"\xff").ljust(300, b"\0"), mac, to, _SERVER, _CLIENT)

    def _send(self, payload: bytes, mac: bytes, to: bytes, from_port: int, port: int) -> None:
        size = _UDP.size + len(payload)
        if _ETHERNET.size + _IP.size + size > FRAME_LIMIT:
            return
        header = _UDP.pack(from_port, port, size, 0)
        checksum = _checksum(_pseudo(self._address, to, size) + header + payload) or 0xFFFF
        packet = _IP.pack(0x45, 0, _IP.size + size, 0, 0x4000, 64, _UDP_NUMBER, 0, self._address, to)
        packet = packet[:10] + struct.pack(">H", _checksum(packet)) + packet[12:]
        udp = header[:6] + struct.pack(">H", checksum) + payload
        self.outbox.append((_ETHERNET.pack(mac, MAC, _IPV4) + packet + udp).ljust(60, b"\0"))


def _options(data: bytes) -> dict[int, bytes]:
    """The options by number; a damaged end is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 1 < len(data) and data[at] != 0xFF:
        if data[at] == 0:
            at += 1
            continue
        found[data[at]] = data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def _pseudo(source: bytes, to: bytes, size: int) -> bytes:
    """What UDP's checksum covers of the IP header."""
    return source + to + struct.pack(">BBH", 0, _UDP_NUMBER, size)


def _checksum(data: bytes) -> int:
    """The Internet checksum; 0 over data that holds its own."""
    data += bytes(len(data) % 2)
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF

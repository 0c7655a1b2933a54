"""Ethernet frames of a guest, and QEMU's end of an adapter's socket (`-netdev stream`)."""

from __future__ import annotations

import contextlib
import socket
import struct
from pathlib import Path

GUEST_MAC = bytes.fromhex("525400123457")
BROADCAST = b"\xff" * 6


def packed(address: str) -> bytes:
    return socket.inet_aton(address)


def checksum(data: bytes) -> int:
    total = 0
    for high, low in zip(data[::2], (data + b"\0")[1::2], strict=False):
        total += high << 8 | low
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def arp_request(wanted: str, own: str = "0.0.0.0") -> bytes:
    body = bytes.fromhex("0001080006040001") + GUEST_MAC + packed(own) + bytes(6) + packed(wanted)
    return BROADCAST + GUEST_MAC + b"\x08\x06" + body


def udp(
    payload: bytes, source: tuple[str, int], to: tuple[str, int], mac: bytes, *, fragment: int = 0
) -> bytes:
    size = 8 + len(payload)
    header = struct.pack(">HHHH", source[1], to[1], size, 0)
    pseudo = packed(source[0]) + packed(to[0]) + struct.pack(">BBH", 0, 17, size)
    sums = struct.pack(">H", checksum(pseudo + header + payload) or 0xFFFF)
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 1, fragment, 64, 17, 0)
    ip += packed(source[0]) + packed(to[0])
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return mac + GUEST_MAC + b"\x08\x00" + ip + header[:6] + sums + payload


def dhcp(kind: int, options: bytes = b"", *, broadcast: bool = False, client: str = "0.0.0.0") -> bytes:
    head = struct.pack(">BBBBIHH", 1, 1, 6, 0, 0x12345678, 0, 0x8000 if broadcast else 0)
    head += packed(client) + bytes(12) + GUEST_MAC.ljust(16, b"\0") + bytes(192) + b"\x63\x82\x53\x63"
    body = head + bytes((53, 1, kind)) + options + b"\xff"
    return udp(body, ("0.0.0.0", 68), ("255.255.255.255", 67), BROADCAST)


class Qemu:
    """The side that listens; `line` is the connection of the debugger."""

    def __init__(self, path: Path) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.settimeout(10.0)
        self._listening.bind(str(path))
        self._listening.listen(1)
        self.path = path
        self.line: socket.socket | None = None

    def accept(self) -> None:
        self.line = self._listening.accept()[0]
        self.line.settimeout(10.0)

    def send(self, *frames: bytes) -> None:
        assert self.line
        self.line.sendall(b"".join(struct.pack(">I", len(frame)) + frame for frame in frames))

    def receive(self) -> bytes:
        assert self.line
        (size,) = struct.unpack(">I", self._exactly(4))
        return self._exactly(size)

    def close(self) -> None:
        """As at a revert: the socket is gone."""
        if self.line:
            self.line.close()
        self._listening.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()

    def _exactly(self, size: int) -> bytes:
        assert self.line
        data = b""
        while len(data) < size:
            data += self.line.recv(size - len(data)) or b"\0" * size
        return data

"""The KDNET datagram: AES-256-CBC and HMAC-SHA256 around a body, and the two bodies of its control channel.

The MAC covers header and plaintext; its first 16 bytes are the CBC IV as well.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hmac import HMAC

from harness.debuggers.kd.key import Key
from harness.errors import KdError

MAGIC = b"MDBG"
DATA_CHANNEL = 0
CONTROL_CHANNEL = 1
BREAK_IN = b"b"
_HEADER_SIZE = 6
_MAC_SIZE = 16
_BLOCK = 16
_POKE_SIZE = 344
_RESPONSE_SIZE = 322
_FROM_HOST = 0x80
_PLAIN_HEADER = struct.Struct(">Q")
_ENDPOINT = struct.Struct(">16sH")


@dataclass(frozen=True, slots=True)
class Datagram:
    """One datagram in the clear; `sequence` counts per sender and channel, 56 bits."""

    version: int
    channel: int
    sequence: int
    from_host: bool
    body: bytes


class Seal:
    """Encrypts and authenticates datagrams with one AES key; the MAC key is that of the connection.

    Args:
        key: the connection's key.
        data_key: 32 bytes for the data channel; without it the seal is the control channel's.
    """

    def __init__(self, key: Key, data_key: bytes | None = None) -> None:
        self._aes = algorithms.AES(data_key or key.control)
        self._mac = HMAC(key.mac, hashes.SHA256())

    def close(self, datagram: Datagram) -> bytes:
        """The bytes to send; the same datagram always gives the same bytes."""
        pad = -(8 + len(datagram.body)) % _BLOCK
        header = MAGIC + bytes((datagram.version, datagram.channel))
        tag = (_FROM_HOST if datagram.from_host else 0) | pad
        plain = _PLAIN_HEADER.pack(datagram.sequence << 8 | tag) + datagram.body + bytes(pad)
        mac = self._digest(header + plain)
        return header + Cipher(self._aes, modes.CBC(mac)).encryptor().update(plain) + mac

    def open(self, data: bytes) -> Datagram | None:
        """The datagram, or None when it was not made with these keys.

        Raises:
            KdError: the bytes are no KDNET datagram under any key.
        """
        check_form(data)
        mac = data[-_MAC_SIZE:]
        cipher = Cipher(self._aes, modes.CBC(mac)).decryptor()
        plain = cipher.update(data[_HEADER_SIZE:-_MAC_SIZE])
        if not hmac.compare_digest(self._digest(data[:_HEADER_SIZE] + plain), mac):
            return None
        (first,) = _PLAIN_HEADER.unpack_from(plain)
        end = len(plain) - (first & 0x7F)
        if end < 8:
            raise KdError(f"A KDNET datagram of {len(plain)} bytes claims {first & 0x7F} bytes of padding.")
        return Datagram(data[4], data[5], first >> 8, bool(first & _FROM_HOST), plain[8:end])

    def _digest(self, data: bytes) -> bytes:
        mac = self._mac.copy()
        mac.update(data)
        return mac.finalize()[:_MAC_SIZE]


def check_form(data: bytes) -> None:
    """Raises KdError unless magic, channel and length are those of a KDNET datagram."""
    size = len(data) - _HEADER_SIZE - _MAC_SIZE
    if data[:4] != MAGIC or size < _BLOCK or size % _BLOCK:
        raise KdError(f"These {len(data)} bytes are not a KDNET datagram.")
    if data[5] not in (DATA_CHANNEL, CONTROL_CHANNEL):
        raise KdError(f"A KDNET datagram has the unknown channel {data[5]}.")


@dataclass(frozen=True)
class Poke:
    """A datagram by which a target looks for a debugger or keeps a connection alive.

    Endpoints are (IP address, port); `connected` is the peer of its data channel, with port 0 if there is
    none.
    """

    nonce: bytes
    target: tuple[str, int]
    host: tuple[str, int]
    connected: tuple[str, int]

    @property
    def boot(self) -> bytes:
        """Identifies this boot of the target."""
        return boot_of(self.nonce)

    @classmethod
    def parse(cls, body: bytes) -> Poke | None:
        """Parses a control body as a poke; None when it is none."""
        if len(body) != _POKE_SIZE or body[:2] != b"\x01\x01":
            return None
        return cls(body[2:34], *(_endpoint(body, offset) for offset in (34, 52, 70)))

    def encode(self) -> bytes:
        """The control body."""
        endpoints = b"".join(_packed(*endpoint) for endpoint in (self.target, self.host, self.connected))
        return (b"\x01\x01" + self.nonce + endpoints).ljust(_POKE_SIZE, b"\0")


def response(nonce: bytes, random: bytes) -> bytes:
    """The host's answer to a poke: its 32-byte nonce and 32 random bytes."""
    return (b"\x01\x02" + nonce + random).ljust(_RESPONSE_SIZE, b"\0")


def boot_of(nonce: bytes) -> bytes:
    """The part of a nonce that stays the same until the target restarts."""
    return nonce[8:]


def answered_nonce(body: bytes) -> bytes:
    """The nonce of the poke that a response answers."""
    return body[2:34]


def is_response(datagram: Datagram) -> bool:
    """Whether a datagram of the control channel answers a poke."""
    body = datagram.body
    return datagram.from_host and len(body) == _RESPONSE_SIZE and body[:2] == b"\x01\x02"


def data_key(key: Key, response_body: bytes) -> bytes:
    """The data channel's AES key, which both sides derive from the host's answer."""
    return hashlib.sha256(key.control + response_body).digest()


def is_connection_check(body: bytes) -> bool:
    """Whether a data body is the first one a target sends under a new key: a header without checksum."""
    return len(body) == 12 and body[:8] == bytes(8)


def _endpoint(body: bytes, offset: int) -> tuple[str, int]:
    raw, port = _ENDPOINT.unpack_from(body, offset)
    address = ipaddress.IPv6Address(raw)
    return str(address.ipv4_mapped or address), port


def _packed(address: str, port: int) -> bytes:
    parsed = ipaddress.ip_address(address)
    mapped = bytes(10) + b"\xff\xff" + parsed.packed if parsed.version == 4 else parsed.packed
    return _ENDPOINT.pack(mapped, port)

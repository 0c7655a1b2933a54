"""Frames on a serial line that may lose, alter or insert bytes; no I/O, and nothing but the standard library.

A frame, little-endian: 2 bytes of mark, kind (1), version (1), session (2), sequence number (2),
acknowledgement (2), length of the payload (2), CRC-32 of these 12 bytes (that of zlib); then the payload and,
unless it is empty, its CRC-32. The header's own check makes a length worth waiting for: a reader never waits
for bytes that an altered length promised, and finds the next frame by its mark.

The guest runs this file too: `guest/seriald` holds a symbolic link to it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MARK = b"\xc5\x5a"
VERSION = 1
HEADER = struct.Struct("<2sBBHHHH")
CHECK = struct.Struct("<I")
OVERHEAD = HEADER.size + CHECK.size
PAYLOAD_LIMIT = 4096
"""Bytes of one payload; a frame takes 13 ms on a 16550 that moves 326 KB/s."""

DATA, ACK, NAK, RESET, RESET_ACK = range(1, 6)


@dataclass(frozen=True)
class Frame:
    """One frame; `sequence` and `acknowledged` count modulo 65536."""

    kind: int
    session: int
    sequence: int = 0
    acknowledged: int = 0
    payload: bytes = b""

    def encode(self) -> bytes:
        """The frame's bytes; a payload has at most `PAYLOAD_LIMIT`."""
        if len(self.payload) > PAYLOAD_LIMIT:
            raise ValueError(f"a payload of {len(self.payload)} bytes does not fit into a frame")
        header = HEADER.pack(
            MARK, self.kind, VERSION, self.session, self.sequence, self.acknowledged, len(self.payload)
        )
        header += CHECK.pack(zlib.crc32(header))
        if not self.payload:
            return header
        return header + self.payload + CHECK.pack(zlib.crc32(self.payload))


class FrameReader:
    """Finds whole frames in a stream of bytes; keeps at most one unfinished frame.

    Attributes:
        damaged: frames whose check failed.
        skipped: bytes that belonged to no frame.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()
        self.damaged = 0
        self.skipped = 0

    @property
    def wanted(self) -> int:
        """Bytes without which no frame is complete: the rest of a header, or of the frame that it begins."""
        kept = len(self._buffer)
        if kept < OVERHEAD:
            return OVERHEAD - kept
        length = int(HEADER.unpack_from(self._buffer)[-1])
        return OVERHEAD + length + CHECK.size - kept

    @property
    def kept(self) -> int:
        """Bytes of an unfinished frame."""
        return len(self._buffer)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yields the frames that are complete with these bytes."""
        self._buffer += data
        while True:
            at = self._buffer.find(MARK)
            if at < 0:
                at = len(self._buffer) - self._buffer.endswith(MARK[:1])
            if at:
                self.skipped += at
                del self._buffer[:at]
            if len(self._buffer) < OVERHEAD:
                return
            _, kind, version, session, sequence, acknowledged, length = HEADER.unpack_from(self._buffer)
            (check,) = CHECK.unpack_from(self._buffer, HEADER.size)
            sound = zlib.crc32(self._buffer[: HEADER.size]) == check
            if not sound or version != VERSION or length > PAYLOAD_LIMIT:
                self._damage()
                continue
            end = OVERHEAD + (length + CHECK.size if length else 0)
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[OVERHEAD : OVERHEAD + length])
            if length and CHECK.unpack_from(self._buffer, OVERHEAD + length)[0] != zlib.crc32(payload):
                self._damage()
                continue
            del self._buffer[:end]
            yield Frame(kind, session, sequence, acknowledged, payload)

    def _damage(self) -> None:
        """Goes on behind the mark: a frame that begins inside the damaged one is still found."""
        self.damaged += 1
        self.skipped += len(MARK)
        del self._buffer[: len(MARK)]

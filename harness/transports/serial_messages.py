"""What the two ends of a serial line say to each other: messages, each one payload of `serial_link`.

A message, little-endian: kind (1), number (4), body. The number is that of a call, chosen by the host, or of
a process, given by the guest. A call is answered by one REPLY with JSON: the result, or {"error": text}.

From the host:
    START       call     JSON {"argv": [...]}; the reply has {"process": number}
    INPUT       process  1 byte (1: end of input), bytes for stdin
    CREDIT      process  4 bytes: how many more bytes of output may be sent
    TERMINATE   process
    STAT        call     JSON {"path": text}; the reply has {"size": number or null}
    WRITE       call     JSON {"path": text, "size": number, "sha256": hex}; answered once it is in place
    CHUNK       call     8 bytes offset, 1 byte (1: the rest is compressed by zlib), bytes of the file
    READ        call     JSON {"path": text, "limit": number}; answered after the last CHUNK: size, sha256
    CANCEL      call     ends a WRITE or a READ
From the guest:
    REPLY       call
    OUTPUT      process  1 byte (1: stdout, 2: stderr), bytes
    EXIT        process  4 bytes exit code
    CHUNK       call     as above

The guest runs this file too: `guest/seriald` holds a symbolic link to it.
"""

from __future__ import annotations

import json
import struct
import zlib
from typing import Any

from .serial_frames import PAYLOAD_LIMIT

START, INPUT, CREDIT, TERMINATE, STAT, WRITE, CHUNK, READ, CANCEL = range(1, 10)
REPLY, OUTPUT, EXIT = range(0x81, 0x84)

HEAD = struct.Struct("<BI")
PLACE = struct.Struct("<QB")
NUMBER = struct.Struct("<I")
BODY_LIMIT = PAYLOAD_LIMIT - HEAD.size
INPUT_BYTES = BODY_LIMIT - 1
"""Bytes of stdin, stdout or stderr in one message."""
CHUNK_BYTES = BODY_LIMIT - PLACE.size
"""Bytes of a chunk as it is sent."""
PIECE_BYTES = 4 * CHUNK_BYTES
"""Bytes of a file that are tried to be compressed into one chunk."""
STREAMS = {1: "stdout", 2: "stderr"}


class MessageError(ValueError):
    """The other end sent something that is no message."""


def message(kind: int, number: int, body: bytes = b"") -> bytes:
    """One message."""
    return HEAD.pack(kind, number) + body


def described(kind: int, number: int, **fields: Any) -> bytes:
    """A message whose body is JSON, in ASCII.

    Raises:
        MessageError: it is too long for one message.
    """
    body = json.dumps(fields, separators=(",", ":")).encode("ascii")
    if len(body) > BODY_LIMIT:
        raise MessageError(f"{len(body)} bytes of text do not fit into one message of {BODY_LIMIT}")
    return message(kind, number, body)


def parse(data: bytes) -> tuple[int, int, bytes]:
    """Kind, number and body; raises `MessageError`."""
    if len(data) < HEAD.size:
        raise MessageError(f"a message of {len(data)} bytes has no head")
    kind, number = HEAD.unpack_from(data)
    return kind, number, data[HEAD.size :]


def fields(body: bytes) -> dict[str, Any]:
    """The JSON object of a body; raises `MessageError`."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MessageError(f"a message's body is not JSON: {body[:80]!r}") from error
    if not isinstance(found, dict):
        raise MessageError(f"a message's body is not a JSON object: {body[:80]!r}")
    return found


def chunks(call: int, offset: int, piece: bytes) -> list[bytes]:
    """The messages for up to `PIECE_BYTES` of a file, each as full as can be: compressed where that helps."""
    made, at = [], 0
    while at < len(piece):
        taken, packed = _fitting(piece[at:])
        made.append(message(CHUNK, call, PLACE.pack(offset + at, packed is not None) + (packed or taken)))
        at += len(taken)
    return made


def _fitting(data: bytes) -> tuple[bytes, bytes | None]:
    """The first bytes that fit into one chunk, and the same compressed if that made more of them fit."""
    taken = data
    for _ in range(2):
        packed = zlib.compress(taken, 1)
        if len(packed) <= CHUNK_BYTES and len(packed) < len(taken):
            return taken, packed
        # As many as should fit by this ratio, and a little less.
        taken = taken[: len(taken) * CHUNK_BYTES * 15 // (len(packed) * 16)]
        if len(taken) <= CHUNK_BYTES:
            break
    return data[:CHUNK_BYTES], None


def chunk(body: bytes) -> tuple[int, bytes]:
    """Offset and bytes of a CHUNK, at most `PIECE_BYTES`; raises `MessageError`."""
    if len(body) < PLACE.size:
        raise MessageError("a chunk has no offset")
    offset, packed = PLACE.unpack_from(body)
    data = body[PLACE.size :]
    if packed:
        opener = zlib.decompressobj()
        try:
            data = opener.decompress(data, PIECE_BYTES)
        except zlib.error as error:
            raise MessageError(f"a compressed chunk at {offset} is damaged: {error}") from error
        if opener.unconsumed_tail or not opener.eof:
            raise MessageError(f"a compressed chunk at {offset} has more than {PIECE_BYTES} bytes")
    return offset, data

"""Data that drivers added to a small dump: blocks with a GUID, behind the dump itself."""

from __future__ import annotations

import re
import struct

from harness.dumps.dumpfile import DumpFile
from harness.dumps.facts import SecondaryData

MAX_BLOBS = 256
MAX_TEXT = 4096
_START = b"DumpBlob"
_READ, _SEARCHED = 1 << 17, 1 << 13
_TEXT = bytes([*b"\t\r\n", *range(0x20, 0x7F), *range(0x80, 0x100)])
"""Bytes of UTF-8 text."""
_SHARE = 0.95
_PIECES = 12
_ASCII = re.compile(rb"[\x20-\x7e]{6,200}")
_UTF16 = re.compile(rb"(?:[\x20-\x7e]\0){6,200}")


def secondary_data(file: DumpFile, at: int) -> tuple[SecondaryData, ...]:
    """The blocks at file offset `at`, where the small dump ends; those without data are left out."""
    head = file.read(at, 16)
    if len(head) < 16 or not head.startswith(_START):
        return ()
    at += int.from_bytes(head[8:12], "little")
    found = []
    for _ in range(MAX_BLOBS):
        blob = file.read(at, 32)
        if len(blob) < 32:
            break
        size, before, after = struct.unpack_from("<III", blob, 20)
        data = file.read(at + 32 + before, min(size, _READ))
        if data:
            text, whole = _text(data)
            found.append(SecondaryData(_guid(blob[4:20]), size, text, whole))
        at += 32 + size + before + after
    return tuple(found)


def _guid(raw: bytes) -> str:
    first, second, third = struct.unpack_from("<IHH", raw)
    return f"{first:08x}-{second:04x}-{third:04x}-{raw[8:10].hex()}-{raw[10:].hex()}"


def _text(data: bytes) -> tuple[str, bool]:
    """The data as text and True when it is text; else the longer texts in it and False."""
    pairs = len(data) // 2
    wide = data[1::2].count(0) >= _SHARE * pairs > data[::2].count(0)
    narrow = (data[::2] if wide else data).rstrip(b"\0")
    if narrow and len(narrow.translate(None, _TEXT)) <= (1 - _SHARE) * len(narrow):
        try:
            whole = data.decode("utf-16-le" if wide else "utf-8").rstrip("\0")
            if whole[:1].isprintable() or whole[:1].isspace():  # else numbers in front of a text
                return whole[:MAX_TEXT], True
        except UnicodeDecodeError:
            pass
    start = data[:_SEARCHED]
    pieces = [one.group().decode("ascii") for one in _ASCII.finditer(start)]
    pieces += [one.group().decode("utf-16-le") for one in _UTF16.finditer(start)]
    words = (piece.strip() for piece in pieces if _is_word(piece))
    return "; ".join(list(dict.fromkeys(words))[:_PIECES]), False


def _is_word(piece: str) -> bool:
    """Whether printable bytes are text, not numbers that happen to be printable."""
    return sum(one.isalnum() or one in " ._-\\/:" for one in piece) >= _SHARE * len(piece)

"""Data that drivers added to a small dump: blocks with a GUID, behind the dump itself."""

from __future__ import annotations

import re
import struct

from harness.dumps.dumpfile import DumpFile
from harness.dumps.facts import SecondaryData

MAX_BLOBS = 256
MAX_TEXT = 4096
_TAGS = {
    "00afe9c4-940d-4213-8016-cd3719b5bc20": "NTFS",
    "270a33fd-3da6-460d-ba89-3c1bae21e39b": "graphics kernel, time-outs",
    "2b4ae195-a64d-4f04-8ede-7e4f981bd42a": "triage data of drivers",
    "2b88b710-1c93-4f7c-b06c-655ecc50decc": "event tracing buffers",
    "4ee76bd8-3cf4-44a0-a0ac-3937643e37a3": "code integrity",
    "54c84888-01d1-4c1e-bed6-282c98241303": "log of a KMDF driver",
    "6c7ac389-4313-47dc-9f34-a8800a0fb56c": "firmware and processor, from the registry",
    "80cc79cf-a719-4af1-bf97-fe29ff76ebc1": "winlogon",
    "9276c055-eb87-425c-b8b5-04e4d247f6cd": "PCI configuration",
    "9282756a-ab95-4d24-a137-ecddc5de53f5": "secure kernel, log",
    "b0692a5e-6b7b-4073-8a7c-604e35032970": "secure kernel",
    "b7631941-532a-4cd6-b1b1-edb5917d4557": "plug and play",
    "bc5c008f-1e3a-44d7-988d-86f6884c6758": "SMBIOS tables",
    "c939c73b-17dc-4a44-904c-e2d987f52649": "storport, paging device",
    "d03dc06f-d88e-44c5-ba2a-fae035172d19": "processor registers",
    "da82441d-7142-4bc1-b844-0807c5a4b67f": "storport",
    "e83b40d2-b0a0-4842-abea-71c9e3463dd1": "ACPI tables",
    "f57308df-cc45-4e01-ad76-29a4ebb010ec": "boot status",
    "f87e4a4c-c5a1-4d2f-bff0-d5de63a5e4c3": "list of KMDF drivers",
}
"""Tags that parts of Windows use, by their names in public symbols and in the sources of KMDF."""
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
            tag = _guid(blob[4:20])
            found.append(SecondaryData(tag, size, text, whole, _TAGS.get(tag, "")))
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

"""The partitions of a disk, from its first sectors: MBR primary partitions, or GPT.

Layouts: MBR boot record, UEFI specification 2.10 chapter 5 (GPT). Nothing is trusted: entries that reach
beyond the disk are left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

SECTOR = 512
HEAD = 1 << 20
"""Bytes at the start of a disk that hold every table that Windows Setup writes."""
ENTRIES_LIMIT = 128
_MBR_TABLE = 446
_PROTECTIVE = 0xEE


@dataclass(frozen=True)
class Partition:
    """One partition, in bytes. `number` counts from 1, as Windows does."""

    number: int
    offset: int
    size: int


def partitions(head: bytes, disk_size: int) -> tuple[Partition, ...]:
    """The partitions of a disk of `disk_size` bytes whose first bytes (`HEAD` are enough) are `head`."""
    if len(head) < SECTOR or head[510:512] != b"\x55\xaa":
        return ()
    kinds = [head[_MBR_TABLE + 16 * index + 4] for index in range(4)]
    found = _gpt(head) if _PROTECTIVE in kinds else _mbr(head)
    return tuple(one for one in found if one.size > 0 and one.offset + one.size <= disk_size)


def _mbr(head: bytes) -> list[Partition]:
    found = []
    for index in range(4):
        kind, first, count = struct.unpack_from("<4xB3xII", head, _MBR_TABLE + 16 * index)
        if kind and first:
            found.append(Partition(index + 1, first * SECTOR, count * SECTOR))
    return found


def _gpt(head: bytes) -> list[Partition]:
    if head[SECTOR : SECTOR + 8] != b"EFI PART":
        return []
    start, count, size = struct.unpack_from("<QII", head, SECTOR + 72)
    found: list[Partition] = []
    if size < 128:
        return found
    for index in range(min(count, ENTRIES_LIMIT)):
        at = start * SECTOR + index * size
        entry = head[at : at + 48]
        if len(entry) < 48:
            break
        first, last = struct.unpack_from("<QQ", entry, 32)
        if any(entry[:16]) and first <= last:
            found.append(Partition(index + 1, first * SECTOR, (last - first + 1) * SECTOR))
    return found

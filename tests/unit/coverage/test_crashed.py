"""Counters in the minidump of a driver's process."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from harness.coverage.crashed import DUMP, STREAM, crash_counters
from harness.coverage.image import CoverageImage

COUNTERS = bytes(range(32))
IMAGE = CoverageImage(Path("x.sys"), len(COUNTERS), 0, b"", b"")


def minidump(kind: int, content: bytes, *, claimed: int | None = None) -> bytes:
    """A minidump with one stream."""
    size = len(content) if claimed is None else claimed
    head = struct.pack("<4sIIIIIQ", b"MDMP", 0xA793, 1, 0x20, 0, 1700000000, 0)
    return head + struct.pack("<III", kind, size, 0x2C) + content


def test_the_stream_of_a_minidump(tmp_path: Path) -> None:
    (tmp_path / DUMP).write_bytes(minidump(STREAM, COUNTERS))
    assert crash_counters(tmp_path, IMAGE) == COUNTERS


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"MDMP",
        b"PAGEDU64" + bytes(100),
        minidump(STREAM, COUNTERS[:-8]),
        minidump(STREAM, COUNTERS + bytes(8)),
        minidump(STREAM, COUNTERS, claimed=0xFFFFFFFF),
        minidump(STREAM + 1, COUNTERS),
        minidump(STREAM, COUNTERS)[:-1],
    ],
    ids=["empty", "head", "kernel", "short", "long", "huge", "another stream", "cut off"],
)
def test_another_dump_has_no_counters(tmp_path: Path, content: bytes) -> None:
    (tmp_path / DUMP).write_bytes(content)
    assert crash_counters(tmp_path, IMAGE) is None


def test_without_a_dump_there_are_none(tmp_path: Path) -> None:
    assert crash_counters(tmp_path, IMAGE) is None

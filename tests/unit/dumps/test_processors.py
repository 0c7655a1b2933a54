"""Every processor's stack of a kernel dump, out of the states that the crash saved."""

from __future__ import annotations

import struct
from pathlib import Path

import click
import pytest

from harness.dumps.formats.reader import summarise
from harness.dumps.summary import summary_document
from harness.dumps.text import page
from tests.fakes import dump_writer as writer

PRCBS = 0xFFFFF80060000000
CONTEXT_AT = 0x100


def made_guest(processors: int, contexts: int) -> writer.Guest:
    made = writer.guest()
    kdbg = made.map_page(writer.KDBG)  # again: the block with the processors in it
    made.write(kdbg, 0x10, b"KDBG" + struct.pack("<IQ", 0x380, writer.KERNEL))
    made.write(kdbg, 0x218, struct.pack("<Q", PRCBS))
    made.write(kdbg, 0x2BC, struct.pack("<H", CONTEXT_AT))
    array = made.map_page(PRCBS)
    made.write(
        array, 0, struct.pack(f"<{processors}Q", *(PRCBS + 0x1000 * (n + 1) for n in range(processors)))
    )
    for number in range(contexts):
        prcb = made.map_page(PRCBS + 0x1000 * (number + 1))
        context = bytearray(0x4D0)
        struct.pack_into("<I", context, 0x30, 0x10001F)
        struct.pack_into("<Q", context, 0x98, writer.RSP)
        struct.pack_into("<Q", context, 0xF8, writer.DRIVER + 0x1100 + number)
        made.write(prcb, CONTEXT_AT, bytes(context))
    return made


@pytest.mark.parametrize(("code", "shown"), [(0x133, True), (0xD1, False)])
def test_a_hang_shows_every_processor(code: int, shown: bool, tmp_path: Path) -> None:
    data = bytearray(writer.full(made_guest(4, 3)))
    struct.pack_into("<I", data, 0x38, code)
    summary = summarise(writer.write(tmp_path, bytes(data)))
    found = [(one.number, one.stack[0].place.offset) for one in summary.processors]
    assert found == [(0, 0x1100), (1, 0x1101), (2, 0x1102)]  # of the fourth the dump holds nothing
    assert [frame.place.offset for frame in summary.processors[0].stack][:2] == [0x1100, 0x1456]
    assert len(summary_document(summary)["processors"]) == 3
    assert ("processor 2" in click.unstyle("\n".join(page(summary)))) is shown


def test_without_their_place_there_is_none(tmp_path: Path) -> None:
    assert summarise(writer.write(tmp_path, writer.full(writer.guest()))).processors == ()

"""Notes on blocks that a guarded driver kept at a scenario's end."""

from __future__ import annotations

from pathlib import Path

from harness.guests.wine.debug_stream import WineDebugStream
from harness.outcome import DebugRecord
from harness.run.kept import MOST_NOTES, kept_notes


def stream(folder: Path) -> WineDebugStream:
    source = folder / "raw"
    source.write_text(
        '0120:0130:trace:loaddll:build_module Loaded L"C:\\\\t.sys" at 00007FFFFF300000: native\n'
    )
    return WineDebugStream(source, folder / "dbgprint.log", "00ff")


def printed(*lines: str) -> list[DebugRecord]:
    return [DebugRecord(0.0, "dbgprint", f"winvm-guard: {line}") for line in lines]


def test_blocks_of_one_place_are_counted_together(tmp_path: Path) -> None:
    records = printed(
        "left: kept 0000000000001000 64 bytes tag Sins",
        "left at 00007FFFFF301234 00007FFFFF305678",
        "left: kept 0000000000003000 36 bytes tag Sins",
        "left at 00007FFFFF301234 00007FFFFF305678",
        "left: kept 0000000000005000 8 bytes tag None",
        "left at 00007FFFFF302222",
    )
    debug = stream(tmp_path)
    try:
        assert kept_notes(debug, records, None) == [
            "the driver still has 2 pool blocks of the scenario, 100 bytes with tag Sins, "
            "allocated at 0x7fffff301234",
            "the driver still has 1 pool block of the scenario, 8 bytes with tag None, "
            "allocated at 0x7fffff302222",
        ]
    finally:
        debug.close()


def test_what_is_left_at_unload_is_no_note(tmp_path: Path) -> None:
    debug = stream(tmp_path)
    try:
        records = printed("left: pool 0000000000001000 64 bytes tag Sins", "left at 00007FFFFF301234")
        assert kept_notes(debug, records, None) == []
    finally:
        debug.close()


def test_many_places_are_cut(tmp_path: Path) -> None:
    lines = [
        line
        for number in range(12)
        for line in (
            f"left: kept {4096 * number:016X} 64 bytes tag Sins",
            f"left at {0x7FFFFF301000 + number:016X}",
        )
    ]
    debug = stream(tmp_path)
    try:
        notes = kept_notes(debug, printed(*lines), None)
    finally:
        debug.close()
    assert len(notes) == MOST_NOTES + 1
    assert notes[-1] == "4 more places"

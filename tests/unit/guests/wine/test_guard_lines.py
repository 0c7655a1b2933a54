"""What the guard of an instrumented driver prints, as a violation with its places."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guests.wine.debug_stream import WineDebugStream
from harness.guests.wine.guard_lines import KEPT, Left, kept, violation
from harness.outcome import DebugRecord, KernelCrash

LOADED = r'0120:0130:trace:loaddll:build_module Loaded L"C:\\sins.sys" at 00007FFFFF300000: native'
PRINT = "0120:0130:warn:debugstr:vDbgPrintExWithPrefix 00000000:00000000: "
BUGCHECK = "0120:0130:err:ntoskrnl:KeBugCheckEx c4 13 0 104fefc0 0"
LINES = (
    "winvm-guard: left: pool 00000000104FEFC0 64 bytes tag Sins",
    "winvm-guard: left at 00007FFFFF3012F3 00007FFFFF301A1F 0000000000000000 0000000000000000",
    "winvm-guard: left: work item 0000000000012340 0 bytes tag -",
    "winvm-guard: violation: pool freed twice",
    "winvm-guard: stack at 00007FFFFF3012A0 00007FFFFF301A1F 0000000000000000 0000000000000000",
)


def records(*lines: str, source: str = "dbgprint") -> list[DebugRecord]:
    return [DebugRecord(0.0, source, line) for line in lines]


def crash_of(folder: Path, *lines: str) -> KernelCrash:
    """The crash that the guest's debug output shows."""
    source = folder / "raw"
    source.write_text("".join(f"{line}\n" for line in lines))
    stream = WineDebugStream(source, folder / "dbgprint.log", "00ff")
    try:
        stream.poll()
        crash = stream.crash()
    finally:
        stream.close()
    assert crash is not None
    return crash


def test_a_violation_its_stack_and_what_is_left() -> None:
    found = violation(records(*LINES))
    assert found is not None
    assert found.what == "pool freed twice"
    assert found.stack == (0x7FFFFF3012A0, 0x7FFFFF301A1F)
    assert found.left == (
        Left("pool", 0x104FEFC0, 64, "Sins", (0x7FFFFF3012F3, 0x7FFFFF301A1F)),
        Left("work item", 0x12340, 0, "-"),
    )


def test_what_no_driver_printed_is_no_violation() -> None:
    assert violation(records(*LINES, source="user")) is None


@pytest.mark.parametrize(
    "line",
    [
        "winvm-guard: stack at zz",
        "winvm-guard: left at 0012",
        "winvm-guard: left: pool 12 99999999999999999999999 bytes tag x",
        "winvm-guard: violation: ",
    ],
)
def test_a_damaged_line_says_nothing(line: str) -> None:
    assert violation(records(line)) is None


def test_a_bugcheck_of_the_guard_has_its_words_and_its_stack(tmp_path: Path) -> None:
    crash = crash_of(tmp_path, LOADED, *(f"{PRINT}{line}" for line in LINES), BUGCHECK)
    assert (crash.kind, crash.code, crash.parameters) == ("bugcheck", 0xC4, (0x13, 0, 0x104FEFC0, 0))
    assert crash.hint.cause == "is at fault, by the guard's report: pool freed twice"
    assert crash.stack == (0x7FFFFF3012A0, 0x7FFFFF301A1F)
    assert crash.notes == (r"C:\sins.sys at 0x7fffff300000",)


def test_a_bugcheck_of_the_driver_itself_has_no_hint(tmp_path: Path) -> None:
    crash = crash_of(tmp_path, LOADED, BUGCHECK)
    assert (crash.hint.cause, crash.stack) == ("", ())


def test_blocks_that_a_scenario_kept() -> None:
    place = "winvm-guard: left at 00007FFFFF3012F3 0000000000000000 0000000000000000 0000000000000000"
    block = f"winvm-guard: left: {KEPT} 00000000104FEFC0 64 bytes tag Sins"
    assert kept(records(block, place, block)) == (
        Left(KEPT, 0x104FEFC0, 64, "Sins", (0x7FFFFF3012F3,)),
        Left(KEPT, 0x104FEFC0, 64, "Sins", ()),
    )
    assert kept(records()) == ()
    assert kept(records(block, source="other")) == ()

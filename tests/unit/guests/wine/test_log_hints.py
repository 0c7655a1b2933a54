"""What Wine's log says beyond a crash's code, through the stream that follows the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.guests.wine import log_hints
from harness.guests.wine.debug_stream import WineDebugStream
from harness.interfaces import ReadsLog, SeesExceptions
from harness.outcome import CrashHint, DebugRecord, KernelCrash

LOADED = r'0120:0130:trace:loaddll:build_module Loaded L"C:\\t.sys" at 00007FFFFF300000: native'
OVERFLOW = "0120:0130:err:thread:append_output debug buffer overflow:"
LACKS = (
    "wine: Unimplemented function ntoskrnl.exe.CcFlushCache called at address 00007FFFFF301111 (thread 0130)"
)
FAULT = (
    "wine: Unhandled page fault on read access to 0000000000000008 at address 00007FFFFF301111 (thread 0130)"
)
TOO_LONG = (
    "wine: Unhandled exception 0x80000005 in thread 130 at address 00007FFFFF301111 (thread 0130), starting "
    "debugger..."
)


def hint_of(folder: Path, *lines: str) -> CrashHint:
    source = folder / "raw"
    source.write_text("".join(f"{line}\n" for line in (LOADED, *lines)))
    stream = WineDebugStream(source, folder / "dbgprint.log", "00ff")
    try:
        stream.poll()
        crash = stream.crash()
        assert crash is not None
        assert isinstance(stream, ReadsLog)
        assert isinstance(stream, SeesExceptions)
        return crash.hint
    finally:
        stream.close()


def test_a_routine_that_wine_lacks(tmp_path: Path) -> None:
    hint = hint_of(tmp_path, LACKS)
    assert hint.what == "call of ntoskrnl.exe.CcFlushCache, which is not implemented by Wine"
    assert hint.limit == "the driver called ntoskrnl.exe.CcFlushCache, which Wine does not implement"


def test_a_dbgprint_that_wine_ends_the_driver_for(tmp_path: Path) -> None:
    hint = hint_of(tmp_path, OVERFLOW, TOO_LONG)
    assert hint.limit.startswith("one DbgPrint had 1,000 bytes or more")
    assert (hint.what, hint.cause) == ("", "")


def test_a_fault_of_the_driver_has_no_hint(tmp_path: Path) -> None:
    assert hint_of(tmp_path, OVERFLOW, FAULT) == CrashHint()


@pytest.mark.parametrize(("status", "limit"), [(0xC0000182, ""), (0x103, "Windows starts such a driver")])
def test_what_driver_entry_returned(status: int, limit: str) -> None:
    refused = rf'0120:0130:err:ntoskrnl:ZwLoadDriver failed to create driver L"\\t": {status:08x}'
    records = [DebugRecord(0.0, "wine", text) for text in (LOADED, refused)]
    found = log_hints.entry_status(records)
    assert found is not None
    assert (found.status, found.limit.startswith(limit), bool(found.limit)) == (status, True, bool(limit))
    assert log_hints.entry_status(records[1:]) is None


def test_lines_about_libraries_are_noise_and_the_drivers_are_not() -> None:
    assert log_hints.is_noise(LOADED)
    assert not log_hints.is_noise(f"t: {LOADED}")
    assert not log_hints.is_noise(OVERFLOW)


def test_violations_that_a_handler_caught_are_counted() -> None:
    seh = "00c8:00dc:warn:seh:dispatch_exception EXCEPTION_{} exception (code={}) raised"
    violation = seh.format("ACCESS_VIOLATION", "c0000005")
    lines = [
        ("wine", violation),
        ("wine", seh.format("PRIV_INSTRUCTION", "c0000096")),
        ("dbgprint", violation),
    ]
    records = [DebugRecord(0.0, source, text) for source, text in lines]
    assert log_hints.caught(records).startswith("1 access violation in the driver was caught, by its own")
    assert log_hints.caught(records * 2).startswith("2 access violations in the driver were caught")
    assert log_hints.caught(records[1:]) == ""


@pytest.mark.parametrize(
    ("code", "printed", "at"),
    [
        (0xC0000409, ["winvm: stack cookie overwritten before 00007FFFFF301042"], 0x7FFFFF301041),
        (0xC0000409, ["winvm: stack cookie overwritten before 00007FFFFF301042", "another line"], 0),
        (0xC0000409, ["winvm: stack cookie overwritten before nowhere"], 0),
        (0xC0000409, [], 0),
        (0xC0000005, ["winvm: stack cookie overwritten before 00007FFFFF301042"], 0),
    ],
)
def test_the_function_whose_stack_cookie_was_overwritten(code: int, printed: list[str], at: int) -> None:
    """It is the driver's last line that says so: the fast-fail itself is in the routine that all share."""
    crash = KernelCrash("exception", code, (code, 0x7FFFFF301255, 0, 0), 0.0, "fast-fail")
    lines = [DebugRecord(0.0, "dbgprint", text) for text in printed]
    found = log_hints.hinted(crash, [*lines, DebugRecord(0.0, "wine", "err:seh: code c0000409")])
    assert found.parameters[1] == (at or 0x7FFFFF301255)
    assert found.hint.cause.startswith("overran a buffer on its stack") == bool(at)

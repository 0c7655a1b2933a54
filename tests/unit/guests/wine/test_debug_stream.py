"""The Wine debug stream: golden logs of real Wine 10 output, slices, hostile output, truncation."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.debuggers.log import DebugLog
from harness.debuggers.logged import LINE_LIMIT
from harness.guests.wine.debug_lines import WineLines
from harness.guests.wine.debug_stream import WineDebugStream
from harness.outcome import KernelCrash

LOGS = sorted((Path(__file__).parents[3] / "golden" / "wine-debug").glob("*.log"))
NONCE = "n0nce"
MARK = f"0020:0024:warn:debugstr:vDbgPrintExWithPrefix 00000000:00000001: WINVM-MARK {NONCE}"
BUGCHECK = "0120:0130:err:ntoskrnl:KeBugCheckEx e2 1 2 3 ffffffffffffffff"


class Guest:
    """The writing end: what QEMU does with the guest's output."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "dbgprint.raw"
        self.log = folder / "artifacts" / "dbgprint.log"
        self.stream = WineDebugStream(self.file, self.log, NONCE)

    def write(self, data: bytes) -> None:
        with self.file.open("ab") as file:
            file.write(data)
        self.stream.poll()

    def print(self, *lines: str) -> None:
        self.write("".join(f"{line}\n" for line in lines).encode())

    def texts(self, scenario_id: int) -> list[str]:
        return [record.text for record in self.stream.slice(scenario_id)]


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    guest = Guest(tmp_path)
    yield guest
    guest.stream.close()


def dbgprint(text: str) -> str:
    return f"0120:0130:warn:debugstr:vDbgPrintExWithPrefix 00000000:00000001: {text}"


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_golden_log(log: Path, golden: Callable[[str, str], None]) -> None:
    lines = WineLines(f"WINVM-MARK {NONCE} ")
    shown = []
    for raw in log.read_bytes().split(b"\n")[:-1]:
        line = lines.parse(raw.decode("utf-8", "backslashreplace"), time=0.0)
        if line.source != "wine":
            shown.append(f"{line.source} {line.text!a}\n")
        if line.crash is not None:
            numbers = " ".join(f"{value:#x}" for value in line.crash.parameters)
            shown.append(f"CRASH {line.crash.kind} {line.crash.code:#x} ({numbers}) {line.crash.notes}\n")
    golden(f"wine-debug/{log.stem}.expected", "".join(shown))


def test_golden_logs_are_there() -> None:
    assert len(LOGS) >= 11


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_without_process_ids_every_driver_crash_is_still_seen(log: Path) -> None:
    """An image made with the plain WINEDEBUG value has neither process ids nor loaded images."""
    lines = WineLines(f"WINVM-MARK {NONCE} ")
    crashes = []
    for raw in log.read_text("utf-8", "backslashreplace").split("\n"):
        if "loaddll" in raw or ":warn:seh:" in raw:
            continue
        prefixed = raw[4:5] == ":" and raw[9:10] == ":"
        crashes.append(lines.parse(raw[5:] if prefixed else raw, 0.0).crash)
    quiet = {"dbgprint-lines", "privileged-instruction"}
    expected = {"bugcheck"} if log.stem == "bugcheck" else set() if log.stem in quiet else {"exception"}
    assert {crash.kind for crash in crashes if crash is not None} == expected


def test_a_crash_of_another_process_is_not_the_drivers() -> None:
    lines = WineLines(f"WINVM-MARK {NONCE} ")
    fault = "wine: Unhandled page fault on read access to {:016X} at address 0000000140001000 (thread {})"
    lines.parse(r'0120:0130:trace:loaddll:build_module Loaded L"C:\\a.sys" at 00007FFFFF300000: native', 0.0)
    lines.parse("0200:0204:warn:debugstr:OutputDebugStringA child", 0.0)
    assert lines.parse(fault.format(0, "0204"), 0.0).crash is None
    assert lines.parse(fault.format(0, "0999"), 0.0).crash is None
    crash = lines.parse(fault.format(8, "0130"), 0.0).crash
    assert crash is not None
    assert crash.parameters == (0xC0000005, 0x140001000, 8, 0)
    assert crash.notes == (r"C:\a.sys at 0x7fffff300000",)


def test_a_loaded_driver_is_known_by_its_newest_base(guest: Guest) -> None:
    load = r'0120:0130:trace:loaddll:build_module Loaded L"C:\\winvm\\winvm.sys" at {}: native'
    guest.print(load.format("00007FFFFF300000"), load.format("00007FFFFE000000"))
    (driver,) = guest.stream.drivers()
    assert (driver.path, driver.base) == (r"C:\winvm\winvm.sys", 0x7FFFFE000000)


def test_the_thread_sees_a_crash_within_100_ms(guest: Guest) -> None:
    worst = 0.0
    for _ in range(5):
        time.sleep(0.03)  # gives the thread time to be in its wait
        started = time.monotonic()
        with guest.file.open("ab") as file:
            file.write(f"{BUGCHECK}\n".encode())
        while guest.stream.crash() is None and time.monotonic() - started < 2:
            time.sleep(0.001)
        worst = max(worst, time.monotonic() - started)
        guest.stream.rearm()
    assert worst < 0.1


def test_the_first_crash_stays_until_rearm(guest: Guest) -> None:
    guest.print(BUGCHECK, BUGCHECK.replace("e2", "50"))
    crash = guest.stream.crash()
    assert crash is not None
    assert (crash.kind, crash.code, crash.parameters) == ("bugcheck", 0xE2, (1, 2, 3, (1 << 64) - 1))
    guest.stream.rearm()
    assert guest.stream.crash() is None
    guest.print(BUGCHECK.replace("e2", "50"))
    second: KernelCrash | None = guest.stream.crash()
    assert second is not None
    assert second.code == 0x50


def test_slices_are_cut_by_the_markers_of_this_run(guest: Guest) -> None:
    guest.print(
        dbgprint("DriverEntry"),
        f"{MARK} begin 1 a.b",
        dbgprint("one"),
        "two, inside the same DbgPrint",
        dbgprint("WINVM-MARK other end 1 a.b"),
        "0130:fixme:ntoskrnl:Something stub",
        f"{MARK} end 1 a.b",
        dbgprint("between"),
        f"{MARK} begin 2 a.c",
        dbgprint("three"),
    )
    assert guest.texts(1) == [
        "one",
        "two, inside the same DbgPrint",
        "WINVM-MARK other end 1 a.b",
        "0130:fixme:ntoskrnl:Something stub",
    ]
    assert guest.texts(2) == ["three"]  # still open
    assert guest.texts(3) == []
    assert guest.stream.wait_for_end_marker(1, Deadline.after(0))
    assert not guest.stream.wait_for_end_marker(2, Deadline.after(0.05))
    sources = [record.source for record in guest.stream.slice(1)]
    assert sources == ["dbgprint", "dbgprint", "dbgprint", "wine"]


def test_what_came_after_the_end_is_there_when_asked_for(guest: Guest) -> None:
    guest.print(f"{MARK} begin 1 a", dbgprint("one"), f"{MARK} end 1 a", dbgprint("closed"))
    assert guest.texts(1) == ["one"]
    assert [record.text for record in guest.stream.slice(1, late=True)] == ["one", "closed"]


def test_a_slice_without_end_is_closed_by_the_next_begin_and_by_rearm(guest: Guest) -> None:
    guest.print(f"{MARK} begin 1 a", dbgprint("one"), f"{MARK} begin 2 b", dbgprint("two"))
    guest.stream.rearm()
    guest.print(dbgprint("after the revert"))
    assert guest.texts(1) == ["one"]
    assert guest.texts(2) == ["two"]


def test_the_end_marker_wakes_the_waiting_thread(guest: Guest) -> None:
    guest.print(f"{MARK} begin 7 a")
    with guest.file.open("ab") as file:
        file.write(f"{MARK} end 7 a\n".encode())
    started = time.monotonic()
    assert guest.stream.wait_for_end_marker(7, Deadline.after(5))
    assert time.monotonic() - started < 1


def test_who_waits_for_a_marker_does_not_wait_for_the_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.guests.wine.debug_stream.POLL_S", 30.0)
    guest = Guest(tmp_path)
    with guest.file.open("ab", buffering=0) as file:
        file.write(f"{MARK} begin 8 s.one\n{MARK} end 8 s.one\n".encode())
        assert guest.stream.wait_for_end_marker(8, Deadline.after(5))
        late = threading.Timer(
            0.02, lambda: file.write(f"{MARK} begin 9 s.two\n{MARK} end 9 s.two\n".encode())
        )
        late.start()
        assert guest.stream.wait_for_end_marker(9, Deadline.after(5)), "the guest's relay is behind"
        late.join()
    guest.stream.close()


def test_partial_lines_wait_for_their_end(guest: Guest) -> None:
    guest.write(b"0120:0130:warn:debugstr:vDbgPrintExWithPrefix 00000000:0000")
    assert not guest.stream.records()
    guest.write(b"0001: whole\r\n")
    (record,) = guest.stream.records()
    assert (record.source, record.text) == ("dbgprint", "whole")
    assert abs(record.time - time.time()) < 5
    guest.write(b"wine: cut off by the end of the world")
    guest.stream.close()
    assert guest.log.read_text().endswith(" wine wine: cut off by the end of the world\n")


def test_control_bytes_stay_and_invalid_ones_are_escaped(guest: Guest) -> None:
    guest.write(dbgprint("a\x1b[31m\x07\rb").encode() + b"\xff\n")
    (record,) = guest.stream.records()
    assert record.text == "a\x1b[31m\x07\rb\\xff"


LOADED = r'0120:0130:trace:loaddll:build_module Loaded L"C:\\winvm\\a.sys" at 00007FFFFF300000: native'


def test_a_line_inside_a_dbgprint_is_never_taken_for_wines_own(guest: Guest) -> None:
    """The guest's relay marks every line of a message but the first."""
    guest.print(
        LOADED,
        f"{MARK} begin 1 a.b",
        dbgprint("first"),
        f"\x1e{BUGCHECK}",
        "\x1ewine: Unhandled page fault on write access to 0000000000000000 "
        "at address 0000000000ABCDEF (thread 0130)",
        f"\x1e{LOADED.replace('0120', '0bad')}",
        f"\x1e{MARK} end 1 a.b",
        f"{MARK} end 1 a.b",
    )
    assert guest.stream.crash() is None
    assert [driver.pid for driver in guest.stream.drivers()] == ["0120"]
    records = guest.stream.slice(1)
    assert {record.source for record in records} == {"dbgprint"}
    assert [record.text for record in records][:2] == ["first", BUGCHECK]
    guest.print(BUGCHECK)
    assert guest.stream.crash() is not None


def test_a_long_line_does_not_become_wines_own_where_it_is_cut(guest: Guest) -> None:
    guest.print(LOADED)
    guest.write(dbgprint("").encode().ljust(LINE_LIMIT, b"A") + BUGCHECK.encode() + b"\n")
    guest.write(b"B" * LINE_LIMIT + BUGCHECK.encode())
    guest.write(b"\n")
    assert guest.stream.crash() is None


def test_a_dbgprint_of_another_process_is_not_the_drivers(guest: Guest) -> None:
    theirs = "0020:0024:warn:debugstr:vDbgPrintExWithPrefix 00000000:00000001: a: done"
    guest.print(LOADED, f"{MARK} begin 1 a.b", theirs, dbgprint("a: begun"), f"{MARK} end 1 a.b")
    assert [(record.source, record.text) for record in guest.stream.slice(1)] == [
        *(("user", "a: done"), ("dbgprint", "a: begun")),
    ]


def test_a_dismissed_crash_is_forgotten_and_a_later_one_counts(guest: Guest) -> None:
    guest.print(BUGCHECK)
    guest.stream.dismiss("not a crash: it still runs")
    assert guest.stream.crash() is None
    assert guest.stream.records()[-1].source == "harness"
    guest.print(BUGCHECK.replace("e2", "50"))
    assert (found := guest.stream.crash()) is not None
    assert found.code == 0x50


def test_long_lines_go_on_in_the_next_record(guest: Guest) -> None:
    guest.write(dbgprint("A" * 20_000).encode() + b"\n")
    guest.write(b"B" * 20_000)
    texts = [record.text for record in guest.stream.records()]
    assert max(map(len, texts)) <= LINE_LIMIT
    assert "".join(texts).count("A") == 20_000
    assert "".join(texts).count("B") >= 2 * LINE_LIMIT


def test_records_are_returned_once_and_in_order(guest: Guest) -> None:
    guest.print(*(dbgprint(str(number)) for number in range(3)))
    assert [record.text for record in guest.stream.records()] == ["0", "1", "2"]
    assert not guest.stream.records()
    guest.print(dbgprint("3"))
    assert [record.text for record in guest.stream.records()] == ["3"]


def test_a_restarted_machine_truncates_or_replaces_the_file(guest: Guest) -> None:
    guest.print(dbgprint("first life"))
    guest.file.write_bytes(b"")
    guest.stream.poll()
    guest.print(dbgprint("second"))
    guest.file.unlink()
    guest.stream.poll()
    guest.print(dbgprint("third life, longer than before " + "x" * 200))
    guest.stream.rearm(guest.file.with_name("other.raw"))
    guest.file.with_name("other.raw").write_text(dbgprint("fourth") + "\n")
    guest.stream.poll()
    texts = [record.text.split(",")[0] for record in guest.stream.records()]
    assert texts == ["first life", "second", "third life", "fourth"]


def test_lines_cost_disk_and_no_memory(tmp_path: Path) -> None:
    block = "".join(f"{dbgprint(f'line {number}')}\n" for number in range(1000)).encode()
    guest = Guest(tmp_path)
    guest.print(f"{MARK} begin 1 a")
    guest.write(block)
    tracemalloc.start()
    for _ in range(20):
        guest.write(block)
    guest.print(f"{MARK} end 1 a")
    guest.stream.close()  # its thread may hold a buffer that it has just read
    _, peak = tracemalloc.get_traced_memory()
    ours = [tracemalloc.Filter(True, f"*/harness/{room}/*") for room in ("debuggers", "guests")]
    kept = tracemalloc.take_snapshot().filter_traces(ours)  # threads of other tests may allocate, too
    tracemalloc.stop()
    grown = sum(stat.size for stat in kept.statistics("filename"))
    assert 0 < grown < 256 << 10  # they are 1.6 MB in the log
    assert peak < 8 << 20
    found = guest.texts(1)
    assert (found[0], found[-1]) == ("line 0", "line 999")
    assert any("omitted" in text for text in found)
    assert len(found) < 10_000
    guest.stream.close()


def test_the_log_has_a_limit_and_a_crash_beyond_it_is_still_seen(tmp_path: Path) -> None:
    stream = WineDebugStream(tmp_path / "raw", tmp_path / "dbgprint.log", NONCE, log_limit=1000)
    (tmp_path / "raw").write_text(f"{dbgprint('x' * 90)}\n" * 50 + f"{BUGCHECK}\n")
    stream.poll()
    assert stream.crash() is not None
    stream.close()
    *kept, limit, dropped = (tmp_path / "dbgprint.log").read_text().splitlines()
    assert sum(map(len, kept)) < 1000
    assert limit.endswith(" harness debug output beyond 1000 bytes is dropped")
    assert dropped.endswith(f" harness {51 - len(kept)} lines of debug output were dropped")


def test_a_full_disk_ends_the_log_only() -> None:
    log = DebugLog(Path("/dev/full"))
    assert log.append(0.0, [("wine", "a"), ("wine", "b")]) == [0, 35]
    assert log.end == 0
    log.close()


def test_markers_with_hostile_ids_are_plain_text(guest: Guest) -> None:
    guest.print(f"{MARK} begin 99999999999999 a", f"{MARK} begin -1 a", f"{MARK} end 5 never-begun")
    assert guest.stream.slice(5) == ()
    assert len(guest.stream.records()) == 3


def test_a_guest_that_prints_faster_than_the_host_reads_is_given_up(tmp_path: Path) -> None:
    raw = tmp_path / "raw-1"
    (tmp_path / "raw").symlink_to(raw)
    raw.write_bytes(f"{dbgprint('flood')}\n".encode() * (160 << 20 >> 6))
    stream = WineDebugStream(tmp_path / "raw", tmp_path / "dbgprint.log", NONCE, unread_limit=8 << 20)
    try:
        stream.poll()
        crash = stream.crash()
        assert crash is not None
        assert crash.kind == "flood"
        (tmp_path / "raw-2").write_text(f"{dbgprint('after the restore')}\n")
        (tmp_path / "raw").unlink()
        (tmp_path / "raw").symlink_to(tmp_path / "raw-2")
        stream.rearm()
        stream.poll()
        assert stream.crash() is None
        texts = [record.text for record in stream.tail()]
        assert texts[-1] == "after the restore"
        assert "bytes of debug output from before the restore were dropped" in texts[-2]
        assert raw.stat().st_blocks == 0
    finally:
        stream.close()

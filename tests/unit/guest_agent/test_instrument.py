"""The agent's reading of counters: differences, records of a driver that is gone, and what cannot be read."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.deadline import Deadline
from agent.errors import NtStatusError
from agent.instrument import COUNTERS, IDENTIFIES, MAGIC, RECORD, VERSION, Instrumented, Taken
from agent.operations import Operations
from agent.win32.handle import Scope

SCOPE = Operations(lambda *_: None, Deadline.after(5))


class Driver:
    """A channel: instance and counters of the driver that is loaded; none while it is not."""

    def __init__(self, instance: int, *counts: int) -> None:
        self.instance, self.counts = instance, counts
        self.loaded = True

    def read(self, service: str, scope: Scope) -> tuple[bytes, bytes]:
        if not self.loaded:
            raise NtStatusError(0xC0000034, f"opening the channel of {service}")
        content = struct.pack(f"<{len(self.counts)}Q", *self.counts)
        return IDENTIFIES.pack(MAGIC, VERSION, self.instance, len(content)), content

    def record(self, path: Path) -> None:
        content = struct.pack(f"<{len(self.counts)}Q", *self.counts)
        with path.open("ab") as file:
            file.write(RECORD.pack(MAGIC, COUNTERS, self.instance, len(content)) + content)


def counted(taken: Taken) -> tuple[int, ...]:
    content = zlib.decompress(base64.b64decode(taken.counters)) if taken.counters else b""
    return struct.unpack(f"<{len(content) // 8}Q", content)


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "drv.instrument"


def test_only_what_is_new_is_told(records: Path) -> None:
    driver = Driver(7, 1, 0)
    found = Instrumented("drv", str(records.parent), driver.read)
    assert counted(found.take(SCOPE)) == (1, 0)
    assert found.take(SCOPE) == Taken()
    driver.counts = (3, 4)
    assert counted(found.take(SCOPE)) == (2, 4)


def test_a_driver_that_was_loaded_anew_is_counted_whole(records: Path) -> None:
    driver = Driver(7, 5, 1)
    found = Instrumented("drv", str(records.parent), driver.read)
    found.take(SCOPE)
    driver.counts = (6, 1)
    driver.record(records)
    driver.instance, driver.counts = 8, (2, 0)
    driver.record(records)
    driver.instance, driver.counts = 9, (1, 1)
    assert counted(found.take(SCOPE)) == (1 + 2 + 1, 0 + 0 + 1)
    assert not records.exists()
    assert found.take(SCOPE) == Taken()


def test_an_unloaded_driver_has_left_its_record(records: Path) -> None:
    driver = Driver(7, 5, 1)
    found = Instrumented("drv", str(records.parent), driver.read)
    found.take(SCOPE)
    driver.counts, driver.loaded = (5, 9), False
    driver.record(records)
    assert counted(found.take(SCOPE, runs=False)) == (0, 8)


def test_a_service_of_another_name_counts_too(records: Path) -> None:
    found = Instrumented("drv", str(records.parent), Driver(7, 1, 1).read)
    Driver(8, 2, 0).record(records.with_name("other.instrument"))
    Driver(9, 4).record(records.with_name("another-image.instrument"))
    assert counted(found.take(SCOPE)) == (3, 1)
    assert list(records.parent.iterdir()) == []


def test_records_of_an_earlier_run_are_removed(records: Path) -> None:
    Driver(1, 5).record(records)
    found = Instrumented("drv", str(records.parent), Driver(2, 1).read)
    assert counted(found.take(SCOPE)) == (1,)


def test_without_counters_nothing_is_read(records: Path) -> None:
    def read(service: str, scope: Scope) -> tuple[bytes, bytes]:
        raise AssertionError("read")

    assert Instrumented(None, str(records.parent), read).take(SCOPE) == Taken()


def cut(path: Path) -> None:
    Driver(1, 5).record(path)
    path.write_bytes(path.read_bytes()[:-6] + b"x" * 20)


def short(path: Path) -> None:
    Driver(1, 5).record(path)
    path.write_bytes(path.read_bytes()[:-3])


def foreign(path: Path) -> None:
    path.write_bytes(b"no record at all, and longer than one's head")


@pytest.mark.parametrize("spoil", [cut, short, foreign])
def test_damaged_records_are_told_of(records: Path, spoil: Callable[[Path], None]) -> None:
    found = Instrumented("drv", str(records.parent), Driver(2, 1).read)
    spoil(records)
    taken = found.take(SCOPE)
    assert "records cannot be read" in taken.trouble
    assert counted(taken) == (1,)


def test_a_channel_that_does_not_answer_is_told_of(records: Path) -> None:
    driver = Driver(7, 5)
    driver.loaded = False
    taken = Instrumented("drv", str(records.parent), driver.read).take(SCOPE)
    assert taken.counters == ""
    assert "counters cannot be read: opening the channel of drv" in taken.trouble

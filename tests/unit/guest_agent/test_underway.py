"""Since when no operation is under way: the return that counts is that of an operation's own export."""

from __future__ import annotations

import threading
import time

import pytest
from agent import underway


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_journalled", "_inside", "_returned", "_processes"):
        monkeypatch.setattr(underway, name, type(getattr(underway, name))())


def calls(export: str) -> None:
    underway.leave(underway.enter(export))


def test_an_export_of_no_operation_does_not_count() -> None:
    calls("QueryServiceStatusEx")
    assert underway.idle() is None
    underway.journalled("CreateFile", "Device")
    calls("CreateFileW")
    time.sleep(0.05)
    calls("CloseHandle")
    idle = underway.idle()
    assert idle is not None
    assert idle >= 0.05


def test_a_later_journal_line_does_not_change_what_a_return_was() -> None:
    underway.journalled("ReadFile", "Device 4")
    calls("ReadFile")
    underway.journalled("WriteFile", "Device 4")
    assert underway.idle() is not None


def test_the_newest_return_of_all_threads_counts() -> None:
    underway.journalled("ReadFile", "Device 4")
    calls("ReadFile")
    time.sleep(0.05)

    def other() -> None:
        underway.journalled("CancelIo", "Device")
        calls("CancelIo")

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    idle = underway.idle()
    assert idle is not None
    assert idle < 0.05


def test_a_call_inside_another_of_its_thread_breaks_nothing() -> None:
    underway.journalled("DeviceIoControl", "Device")
    outer = underway.enter("DeviceIoControl")
    calls("ReadFile")
    underway.leave(outer)
    assert underway.idle() is None

"""The agent's replay of journalled operations, and what the journal holds for it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agent.errors import Win32Error
from agent.journal import Journal
from agent.replay import replay
from agent.win32.device import MAX_JOURNALLED, Device
from agent.win32.handle import UNWINDING


class FakeDevice:
    """Keeps what is issued on it in the list that all share."""

    def __init__(self, log: list[tuple[Any, ...]], link: str, overlapped: bool) -> None:
        self._log, self._link, self.overlapped = log, link, overlapped

    def ioctl(self, code: int, data: bytes, out: int) -> bytes:
        self._log.append((self._link, "ioctl", code, data, out))
        if code == 0xBAD:
            raise Win32Error(21, "refused")
        return b""

    def ioctl_into(self, code: int, data: bytes, buffer: bytearray) -> int:
        self._log.append((self._link, "ioctl_into", code, data, bytes(buffer)))
        return 0

    def read(self, size: int) -> bytes:
        self._log.append((self._link, "read", size))
        return b""

    def write(self, data: bytes) -> int:
        self._log.append((self._link, "write", data))
        return len(data)

    def read_async(self, size: int) -> object:
        self._log.append((self._link, "read_async", size))
        return object()

    def ioctl_async(self, code: int, data: bytes, out: int) -> object:
        self._log.append((self._link, "ioctl_async", code, data, out))
        return object()

    def write_async(self, data: bytes) -> object:
        self._log.append((self._link, "write_async", data))
        return object()

    def cancel_io(self) -> None:
        self._log.append((self._link, "cancel_io"))

    def cancel_io_ex(self) -> None:
        self._log.append((self._link, "cancel_io_ex"))

    def close(self) -> None:
        self._log.append((self._link, "close"))


class FakeScope:
    def __init__(self) -> None:
        self.log: list[tuple[Any, ...]] = []

    def open(self, link: str, *, access: int, share: int, overlapped: bool) -> Any:
        self.log.append(("open", link, access, share, overlapped))
        if link == "missing":
            raise Win32Error(2, "CreateFile(missing)")
        return FakeDevice(self.log, link, overlapped)


def opening(number: int, path: str = "a", overlapped: bool = False) -> tuple[str, dict[str, Any]]:
    return "CreateFile", {"opens": number, "path": path, "access": 3, "share": 1, "overlapped": overlapped}


def test_every_operation_is_issued_with_its_arguments_in_order() -> None:
    scope = FakeScope()
    operations = [
        opening(1),
        opening(2, "b", True),
        ("DeviceIoControl", {"on": 1, "code": 7, "in": "0102", "out": 4}),
        ("DeviceIoControl", {"on": 1, "code": 8, "in": "", "into": "ff00"}),
        ("DeviceIoControl", {"on": 2, "code": 9, "in": "03", "out": 1}),
        ("ReadFile", {"on": 1, "length": 5}),
        ("ReadFile", {"on": 2, "length": 6}),
        ("WriteFile", {"on": 1, "in": "6869"}),
        ("WriteFile", {"on": 2, "in": ""}),
        ("CancelIo", {"on": 2}),
        ("CancelIoEx", {"on": 2}),
        ("CloseHandle", {"on": 2}),
        (UNWINDING, {"on": 1}),
    ]
    assert replay(operations, 0, scope) == len(operations)
    assert scope.log == [
        ("open", "a", 3, 1, False),
        ("open", "b", 3, 1, True),
        ("a", "ioctl", 7, b"\1\2", 4),
        ("a", "ioctl_into", 8, b"", b"\xff\0"),
        ("b", "ioctl_async", 9, b"\3", 1),
        ("a", "read", 5),
        ("b", "read_async", 6),
        ("a", "write", b"hi"),
        ("b", "write_async", b""),
        ("b", "cancel_io"),
        ("b", "cancel_io_ex"),
        ("b", "close"),
        ("a", "close"),
    ]


def test_refusals_are_answers_and_what_has_no_handle_is_left_out() -> None:
    scope = FakeScope()
    operations = [
        opening(1, "missing"),
        ("ReadFile", {"on": 1, "length": 1}),
        ("ReadFile", {"on": 9, "length": 1}),
        opening(2),
        ("DeviceIoControl", {"on": 2, "code": 0xBAD, "in": "", "out": 0}),
        ("ReadFile", {"on": 2, "length": 3}),
    ]
    assert replay(operations, 0, scope) == 4
    assert scope.log[-1] == ("a", "read", 3)


def test_an_operation_of_another_kind_is_reported() -> None:
    with pytest.raises(ValueError, match="StartService"):
        replay([opening(1), ("StartService", {"on": 1})], 0, FakeScope())


def test_the_journal_holds_what_a_replay_needs() -> None:
    lines: list[bytes] = []
    journal = Journal(lines.append)
    journal.enter("s.one", 7)
    journal.record("DeviceIoControl", "a code=0x7", {"on": 1, "code": 7, "in": "00", "out": 0})
    journal.record("StartService", "drv")
    first, second = map(json.loads, lines)
    assert (first["run"], first["scenario"], first["call"]["in"]) == (7, "s.one", "00")
    assert "call" not in second


class Refusing:
    """A scope whose journal takes nothing: no operation is issued."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any] | None] = []

    def record(self, operation: str, detail: str, call: dict[str, Any] | None = None) -> None:
        self.calls.append(call)
        raise InterruptedError


def test_long_input_and_hostile_pointers_are_journalled_without_arguments() -> None:
    scope: Any = Refusing()
    device = Device(5, "a", scope, 3, overlapped=False)
    for issue in (
        lambda: device.ioctl(7, b"\1" * MAX_JOURNALLED, 4),
        lambda: device.ioctl(7, b"\1" * (MAX_JOURNALLED + 1), 4),
        lambda: device.ioctl_raw(7, 0x1000, 4, 0, 0),
        lambda: device.ioctl_into(7, b"", bytearray(MAX_JOURNALLED + 1)),
        lambda: device.ioctl_into(7, b"", bytearray(2)),
        lambda: device.write(b"x"),
        lambda: device.read(9),
        lambda: device.close(),
    ):
        with pytest.raises(InterruptedError):
            issue()
    assert scope.calls == [
        {"on": 3, "code": 7, "out": 4, "in": "01" * MAX_JOURNALLED},
        None,
        None,
        None,
        {"on": 3, "code": 7, "into": "0000", "in": ""},
        {"on": 3, "in": "78"},
        {"on": 3, "length": 9},
        {"on": 3},
    ]

"""What the journal says of a handle that is closed after an operation on it failed."""

from __future__ import annotations

import contextlib

import pytest
from agent.deadline import Deadline
from agent.errors import Win32Error
from agent.win32.binding import Function
from agent.win32.buffers import require_taken
from agent.win32.device import Device
from agent.win32.handle import UNWINDING
from agent.win32.layouts import BOOL, DWORD, HANDLE


class Scope:
    """Keeps the names of the operations that are recorded."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.deadline = Deadline.after(5)

    def record(self, operation: str, detail: str, call: dict[str, object] | None = None) -> None:
        self.operations.append(operation)


class Answers(Function):
    """An export that answers by itself."""

    def __init__(self, *answers: tuple[int, int]) -> None:
        super().__init__("kernel32", "ReadFile", BOOL, HANDLE)
        self._answers = list(answers)

    def call(self, *arguments: object) -> tuple[int, int]:
        return self._answers.pop(0)


@pytest.mark.parametrize(
    ("answers", "closed"),
    [
        ([(1, 0)], "CloseHandle"),
        ([(0, 31)], UNWINDING),
        ([(0, 31), (1, 0)], "CloseHandle"),
    ],
)
def test_a_close_after_a_failure_is_no_operation_of_its_own(
    answers: list[tuple[int, int]], closed: str
) -> None:
    scope, function = Scope(), Answers(*answers)
    with (
        contextlib.suppress(RuntimeError),
        Device(1, "Lamp", scope) as device,
    ):  # there is no CloseHandle here
        for _ in answers:
            with contextlib.suppress(Win32Error):
                device._check(function, "ReadFile", (0, 0), DWORD(0))
    assert scope.operations == [closed]


class Boasting(Device):
    """A device whose driver answers each write with one byte count."""

    def __init__(self, count: int) -> None:
        super().__init__(1, "Lamp", Scope())
        self._count = count

    def _write(self, address: int, length: int, call: dict[str, object] | None) -> int:
        return self._count


def test_a_count_above_the_length_of_a_write_fails() -> None:
    with pytest.raises(AssertionError, match="Lamp reported 5000 bytes of a write of 77"):
        Boasting(5000).write(b"x" * 77)
    with pytest.raises(AssertionError, match="Lamp reported 1 bytes of a write of 0"):
        Boasting(1).write(b"")
    with pytest.raises(AssertionError, match="WriteFile reported 78 bytes of a write of 77"):
        require_taken("WriteFile", 78, 77)  # as an overlapped write checks


@pytest.mark.parametrize("count", [0, 3, 77])
def test_a_count_up_to_the_length_of_a_write_is_returned(count: int) -> None:
    assert Boasting(count).write(b"x" * 77) == count

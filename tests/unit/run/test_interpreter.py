"""The interpreter that a saved guest holds, and the one that is started where Windows has ended it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

import pytest

from harness.deadline import Deadline
from harness.guests.protocol import StartsInterpreter
from harness.guests.windows.guest import WindowsLink
from harness.run.interpreter import started
from harness.transports.wsman import ShellNotFoundError

SAVED, NEW = {"shell": "saved", "command": "1"}, {"shell": "new", "command": "2"}
ZIPAPP = r"C:\winvm\run\agent.pyz"


class Interpreter:
    """What `start_agent` talks to; one in a shell that is gone refuses all."""

    exit_code: int | None = None

    def __init__(self, *, gone: bool) -> None:
        self._gone = gone
        self.told: list[dict[str, str]] = []

    def send(self, data: bytes, *, end: bool = False) -> None:
        if self._gone:
            raise ShellNotFoundError("write to the agent failed: the shell was not found.")
        self.told.append(json.loads(data))

    def receive(self, deadline: Deadline) -> Iterator[tuple[str, bytes]]:
        yield "stdout", b'{"event": "standby"}\n'

    def terminate(self) -> None:
        """Nothing to end."""


class Link:
    """A link to a guest whose saved shell may be gone."""

    def __init__(self, *, gone: bool) -> None:
        self.processes = {"saved": Interpreter(gone=gone), "new": Interpreter(gone=False)}

    def agent(self, standby: Mapping[str, str]) -> Interpreter:
        return self.processes[standby["shell"]]


class RestartingLink(Link):
    started = 0

    def new_interpreter(self, deadline: Deadline) -> dict[str, str]:
        self.started += 1
        return NEW


def test_the_saved_interpreter_becomes_the_agent() -> None:
    link = RestartingLink(gone=False)
    assert started(link, SAVED, ZIPAPP, Deadline.after(5)) == SAVED  # type: ignore[arg-type]
    assert link.processes["saved"].told == [{"cmd": "start", "zipapp": ZIPAPP}]
    assert link.started == 0


def test_another_interpreter_is_started_where_the_saved_one_is_gone() -> None:
    link = RestartingLink(gone=True)
    assert started(link, SAVED, ZIPAPP, Deadline.after(5)) == NEW  # type: ignore[arg-type]
    assert link.processes["new"].told == [{"cmd": "start", "zipapp": ZIPAPP}]
    assert link.started == 1


def test_a_guest_that_cannot_start_another_reports_the_loss() -> None:
    with pytest.raises(ShellNotFoundError):
        started(Link(gone=True), SAVED, ZIPAPP, Deadline.after(5))  # type: ignore[arg-type]


def test_a_windows_guest_can() -> None:
    assert issubclass(WindowsLink, StartsInterpreter)

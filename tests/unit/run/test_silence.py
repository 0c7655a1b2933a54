"""An agent that does not answer at the deadline: the scenario is to blame only where a witness says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.crash.capture import has_issued
from harness.dumps.kernel.held_irps import HeldIrp
from harness.outcome import CrashExpectation, Outcome
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink
from tests.unit.run.test_guest_limits import Run


class Silent(Run):
    """A bench whose scenario's agent answers nothing. `issues` are the operations that it journals."""

    def __init__(self, folder: Path) -> None:
        self.issues: tuple[str, ...] = ()
        self.runs_programs = True
        self.slow = False
        super().__init__(folder)
        self._journal(0, "StartService", "drv")

    def _script(self, agent: FakeAgent, link: FakeLink) -> None:
        def act(command: dict[str, Any]) -> None:
            for operation in self.issues:
                self._journal(command["id"], operation, r"\\.\Lamp")

        def look(command: dict[str, Any]) -> None:
            if self.slow and command["id"] > 1:
                agent.say("looked", id=command["id"], operation="", seconds=0.0)

        agent.when("s.acts", act)
        agent.when("look", look)
        if self.runs_programs:
            link.transport.answer("cmd.exe")

    def _journal(self, run: int, operation: str, detail: str) -> None:
        line = json.dumps({"n": 1, "run": run, "scenario": "s.acts", "op": operation, "detail": detail})
        with self.machine.channels.journal.open("ab") as file:
            file.write(line.encode() + b"\n")


@pytest.fixture
def silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Silent:
    monkeypatch.setattr("harness.agent.conversation.LOOK_S", 0.2)
    monkeypatch.setattr("harness.agent.session.LOOK_S", 0.5)
    return Silent(tmp_path)


def test_a_scenario_that_issued_nothing_is_to_blame_itself(silent: Silent) -> None:
    result = silent.result(deadline_s=0.2)
    assert (result.outcome, result.crash) == (Outcome.ERROR, None)
    assert result.message == (
        "The agent stopped answering while no operation was under way: it had issued none, and the guest "
        "runs other programs. The scenario's own code (s.acts) held the interpreter, or closed the agent's "
        "streams."
    )


def test_it_is_no_hang_that_a_scenario_expects(silent: Silent) -> None:
    assert silent.result(deadline_s=0.2, expect_crash=CrashExpectation(hang=True)).outcome is Outcome.ERROR


def test_a_driver_that_holds_no_irp_is_not_to_blame(silent: Silent) -> None:
    silent.issues = ("CreateFile", "CloseHandle")
    silent.guest.holds_none = True
    result = silent.result(deadline_s=0.2)
    assert (result.outcome, result.crash) == (Outcome.ERROR, None)
    assert r"the driver holds no IRP, so that CloseHandle \\.\Lamp had returned" in result.message


def test_a_driver_that_holds_an_irp_hangs(silent: Silent) -> None:
    silent.issues = ("ReadFile",)
    silent.guest.reads = HeldIrp(0x7000, 3, "IRP_MJ_READ", None, 0x8000, 0x1230)
    result = silent.result(deadline_s=0.2)
    assert result.outcome is Outcome.HUNG
    assert "drv.sys+0x230 took IRP_MJ_READ and has not completed it" in result.detail


def test_an_agent_that_was_only_slow_blames_nobody(silent: Silent) -> None:
    silent.slow = True
    result = silent.result(deadline_s=0.2)
    assert result.outcome is Outcome.HUNG
    assert any(note.startswith("hang: the agent answered again later: ") for note in result.notes)


@pytest.mark.parametrize("operation", ["CloseHandle", "ControlService"])
def test_what_is_not_known_is_said(silent: Silent, operation: str) -> None:
    silent.issues = (operation,)
    result = silent.result(deadline_s=0.2)
    assert result.outcome is Outcome.HUNG
    assert (
        "hang: the guest runs other programs, so the scenario's own code may keep the agent from answering; "
        rf"whether {operation} \\.\Lamp had returned is not known" in result.notes
    )


def test_operations_that_hold_no_irp_are_not_excused_by_one(silent: Silent) -> None:
    silent.issues = ("ControlService",)
    silent.guest.holds_none = True
    assert silent.result(deadline_s=0.2).outcome is Outcome.HUNG


def test_a_guest_in_which_nothing_runs_hangs_whatever_was_issued(silent: Silent) -> None:
    silent.runs_programs = False
    result = silent.result(deadline_s=0.2)
    assert result.outcome is Outcome.HUNG
    assert any(note.startswith("hang: the guest runs no other program either: ") for note in result.notes)


@pytest.mark.parametrize(
    ("journal", "issued"),
    [
        (b'{"run":6}\n{"run":7}\n', True),
        (b'{"run":7}\n{"run":0}\n', False),
        (b'{"run":6}\n{"ru', None),
        (b'{"n":1}\n', None),
        (b"[]\n", None),
        (b"", None),
    ],
)
def test_a_journal_tells_whether_a_run_issued_anything(
    tmp_path: Path, journal: bytes, issued: bool | None
) -> None:
    (tmp_path / "journal").write_bytes(journal)
    assert has_issued(tmp_path / "journal", 7) is issued
    assert has_issued(tmp_path / "none", 7) is None

"""What a guest knows of its own limits, and of the IRPs that its driver holds, in a scenario's result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.bundle.payload import Payload
from harness.deadline import Deadline
from harness.dumps.kernel.held_irps import HeldIrp
from harness.errors import DriverLoadError
from harness.guests.protocol import CrashLimit
from harness.outcome import Outcome, Scenario, ScenarioResult
from harness.project.profiles import find_profile
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.guest_session import GuestSession
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeLink, LimitedGuest
from tests.fakes.machine import FakeMachine


class Run:
    """A bench with a guest that knows limits; `result` runs one scenario, which `act` describes."""

    def __init__(self, folder: Path) -> None:
        from contextlib import ExitStack

        driver = folder / "release" / "release.sys"
        driver.parent.mkdir()
        driver.write_bytes(b"x")
        agent = folder / "agent.pyz"
        agent.write_bytes(b"x")
        self.machine = FakeMachine(folder / "guest")
        self.machine.start(Deadline.after(5))
        artifacts = Artifacts(folder / "artifacts")
        self.guest = LimitedGuest(self._script)
        payload = Payload(agent, "drv", {"release": driver}, "")
        session = GuestSession(
            self.guest, self.machine, find_profile("wine"), payload, artifacts, {"waits": "here"}, {}
        )
        self.bench = Bench(session, artifacts, ExitStack())
        self.crash: tuple[Any, ...] = ()
        self.unloads = True
        self.bench.connect("release")

    def _script(self, agent: FakeAgent, link: FakeLink) -> None:
        def act(command: dict[str, Any]) -> None:
            if self.crash:
                self.guest.debug.break_down(*self.crash)

        agent.when("s.acts", act)
        agent.when("unload", lambda _: agent.say("unloaded", ok=self.unloads, message="it stays"))
        agent.underway = "ReadFile Dev 4"

    def result(self, **options: Any) -> ScenarioResult:
        deadline_s = options.pop("deadline_s", 5.0)
        return self.bench.run(Scenario(options.pop("name", "s.acts"), "s", deadline_s=deadline_s, **options))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def test_a_limit_that_is_certain_is_no_crash_of_the_driver(run: Run) -> None:
    run.crash = ("bugcheck", 0xE2, 1, 2, 3, 4)
    run.guest.limit = CrashLimit("this guest has no such thing", certain=True)
    result = run.result()
    assert result.outcome is Outcome.SKIPPED
    assert result.message.startswith("Not shown on this guest: this guest has no such thing.")


def test_a_limit_that_is_possible_is_told_beside_the_crash(run: Run) -> None:
    run.crash = ("bugcheck", 0xE2, 1, 2, 3, 4)
    run.guest.limit = CrashLimit("this guest has no such thing", certain=False)
    result = run.result()
    assert result.outcome is Outcome.CRASHED
    assert "This may be a limit of this guest alone: this guest has no such thing." in result.detail
    assert result.crash
    assert "This may be a limit" in result.crash.cause


def test_a_missing_line_is_told_of_the_guest_s_limit(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.run.scenario_result.LATE_GRACE_S", 0.1)
    run.guest.missing_line = "this guest prints other values"
    result = run.result(name="s.prints", expect_dbgprint=("count 5",))
    assert result.outcome is Outcome.FAILED
    assert result.message.endswith("Note: this guest prints other values.")


def test_a_hang_names_what_the_driver_holds_or_says_why_not(run: Run) -> None:
    result = run.result(deadline_s=0.2)
    assert result.outcome is Outcome.HUNG
    assert "hang: which IRPs the driver holds is not known: The guest shows nothing." in result.notes
    run.guest.reads = HeldIrp(0x7000, 3, "IRP_MJ_READ", None, 0x8000, 0x1230)
    result = run.result(deadline_s=0.2)
    assert "drv.sys+0x230 took IRP_MJ_READ and has not completed it" in result.detail
    assert any("IRP_MJ_READ at 0x7000 is not completed" in note for note in result.notes)


def test_a_driver_that_no_such_guest_unloads(run: Run) -> None:
    run.unloads = False
    with pytest.raises(DriverLoadError, match="cannot be unloaded: it stays"):
        run.bench.unload()
    assert run.result(name="s.other").outcome is Outcome.PASSED
    run.guest.stays = "this guest has no unload routines"
    run.bench.unload()
    assert not run.bench.guest.answers

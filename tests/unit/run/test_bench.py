"""The bench around the agent: results, crashes and failures, and when the guest is restored."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from harness.agent.handover import Handover
from harness.bundle.payload import Payload
from harness.crash.capture import ANALYSIS
from harness.deadline import Deadline
from harness.errors import DriverLoadError, MachineError
from harness.host.resources import vm_folder
from harness.machine.protocol import MachineState
from harness.outcome import CrashExpectation, Outcome, Scenario
from harness.project.profile import Hang
from harness.project.profiles import load_profile
from harness.run.artifacts import Artifacts
from harness.run.bench import Bench
from harness.run.guest_session import GuestSession
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import DUMP, FakeGuest, FakeLink
from tests.fakes.machine import FakeMachine

Script = Callable[[FakeAgent, FakeLink], None]
JOURNAL = (
    b'{"n":1,"op":"DeviceIoControl","detail":"code=0x1"}\n'
    b'{"n":2,"op":"CloseHandle after error","detail":"Device"}\n'
    b'{"n":3,"op":"DeleteService after error","detail":"drv"}\n'
    b'{"n":3,"op":"hal'
)
BUGCHECK = CrashExpectation(bugcheck=0xE2, parameters=(1, 2, 3, 4))


class Setup:
    """A bench on fakes."""

    def __init__(self, folder: Path, script: Script, hang: Hang | None = None) -> None:
        drivers = {build: folder / f"{build}.sys" for build in ("release", "fault")}
        for file in (*drivers.values(), folder / "agent.pyz"):
            file.write_bytes(file.name.encode())
        self.guest = FakeGuest(script)
        self.machine = FakeMachine(folder / "guest")
        self.machine.start(Deadline.after(5))
        self.artifacts = Artifacts(folder / "artifacts")
        payload = Payload(folder / "agent.pyz", "drv", drivers, "contract")
        profile = load_profile(vm_folder() / "profiles" / "wine.toml")
        profile = profile.model_copy(update={"hang": hang or profile.hang})
        self.payload, self.profile = payload, profile
        self.bench = self.new_bench()

    def new_bench(self, handover: Handover | None = None) -> Bench:
        standby = {"waits": "here"}
        session = GuestSession(
            self.guest, self.machine, self.profile, self.payload, self.artifacts, standby, {}, handover
        )
        return Bench(session, self.artifacts, ExitStack())

    def commands(self, link: int = 0) -> list[str]:
        return [command["cmd"] for command in self.guest.links[link].scripted.commands]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Setup]:
    def build(script: Script = lambda agent, link: None, hang: Hang | None = None) -> Setup:
        return Setup(tmp_path, script, hang)

    return build


def scenario(name: str = "s.one", **options: Any) -> Scenario:
    return Scenario(name, "s", deadline_s=options.pop("deadline_s", 5.0), **options)


def connected(setup: Setup) -> Bench:
    # The bench links once when it is made and once when it deploys.
    setup.bench.connect("release")
    return setup.bench


def agent_of(setup: Setup) -> FakeAgent:
    return setup.guest.links[-1].scripted


def test_agent_and_drivers_are_deployed_and_the_first_build_loaded(make: Callable[..., Setup]) -> None:
    setup = make()
    connected(setup)
    files = setup.guest.links[-1].files.files
    assert files == {
        r"c:\run\agent.pyz": b"agent.pyz",
        r"c:\run\release\drv.sys": b"release.sys",
        r"c:\run\fault\drv.sys": b"fault.sys",
    }
    load = next(command for command in agent_of(setup).commands if command["cmd"] == "load")
    assert (load["service"], load["sys"], load["contract"]) == ("drv", r"C:\run\release\drv.sys", "contract")


def test_a_passed_scenario_needs_its_dbgprint(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def printing(command: dict[str, Any]) -> None:
            agent.debug.mark("begin", command["id"])
            agent.debug.say("drv: hello")
            agent.debug.mark("end", command["id"])
            agent.say("finished", id=command["id"], scenario=command["scenario"], outcome="passed")

        agent.when("s.one", printing)

    bench = connected(make(script))
    passed = bench.run(scenario(expect_dbgprint=("hel+o",)))
    assert (passed.outcome, [record.text for record in passed.dbgprint]) == (Outcome.PASSED, ["drv: hello"])
    failed = bench.run(scenario(expect_dbgprint=("goodbye",)))
    assert failed.outcome is Outcome.FAILED
    assert "'goodbye'" in failed.message


def test_expected_dbgprint_may_come_after_the_end(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def printing(command: dict[str, Any]) -> None:
            agent.debug.mark("begin", command["id"])
            agent.debug.mark("end", command["id"])
            agent.say("finished", id=command["id"], scenario=command["scenario"], outcome="passed")
            threading.Timer(0.2, agent.debug.say, ["drv: closed"]).start()

        agent.when("s.one", printing)

    passed = connected(make(script)).run(scenario(expect_dbgprint=("closed",)))
    assert (passed.outcome, [record.text for record in passed.dbgprint]) == (Outcome.PASSED, ["drv: closed"])


def test_the_build_a_scenario_names_is_loaded_once(make: Callable[..., Setup]) -> None:
    setup = make()
    bench = connected(setup)
    for build in ("fault", "fault", "release"):
        assert bench.run(scenario(build=build)).outcome is Outcome.PASSED
    loads = [command["sys"] for command in agent_of(setup).commands if command["cmd"] == "load"]
    assert loads == [rf"C:\run\{build}\drv.sys" for build in ("release", "fault", "release")]


def test_a_failed_scenario_gets_the_driver_loaded_anew_for_the_next(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.bad", lambda command: agent.finish(command, "failed", message="1 != 2"))

    setup = make(script)
    bench = connected(setup)
    assert bench.run(scenario("s.bad")).message == "1 != 2"
    bench.run(scenario())
    assert setup.commands(-1).count("load") == 2


def crash(kind: str, code: int, *parameters: int) -> Script:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        link.files.put(DUMP, b"MDMP and more")

        def down(command: dict[str, Any]) -> None:
            agent.debug.mark("begin", command["id"])
            agent.debug.say("last words")
            agent.debug.break_down(kind, code, *parameters)

        agent.when("s.down", down)

    return script


def test_the_expected_bugcheck_passes_and_the_guest_is_restored(make: Callable[..., Setup]) -> None:
    setup = make(crash("bugcheck", 0xE2, 1, 2, 3, 4))
    bench = connected(setup)
    setup.machine.write("journal", JOURNAL)
    result = bench.run(scenario("s.down", expect_crash=BUGCHECK))
    assert (result.outcome, result.message) == (Outcome.PASSED, "")
    assert result.crash
    assert result.crash.last_operation == "DeviceIoControl code=0x1"
    assert setup.machine.calls.count("revert") == 0, "restored only when a next scenario needs it"
    assert bench.run(scenario()).outcome is Outcome.PASSED
    assert setup.machine.calls.count("revert") == 1
    assert setup.guest.links[-2].closed


@pytest.mark.parametrize(("code", "parameters"), [(0xE3, (1, 2, 3, 4)), (0xE2, (1, 2, 3, 5))])
def test_another_bugcheck_than_the_expected_is_a_crash(
    make: Callable[..., Setup], code: int, parameters: tuple[int, ...]
) -> None:
    result = connected(make(crash("bugcheck", code, *parameters))).run(
        scenario("s.down", expect_crash=BUGCHECK)
    )
    assert result.outcome is Outcome.CRASHED
    assert "Expected bugcheck" in result.message


def test_an_unexpected_crash_keeps_its_evidence(make: Callable[..., Setup]) -> None:
    setup = make(crash("exception", 0xC0000005, 0xC0000005, 0x1000, 0, 1))
    result = connected(setup).run(scenario("s.down"))
    assert result.outcome is Outcome.CRASHED
    assert "exception 0xc0000005 at 0x1000 on address 0x0" in result.message
    assert result.crash
    kept = {path.name for path in result.crash.folder.iterdir()}
    assert kept == {
        "crash.json",
        "dbgprint-tail.txt",
        "journal.jsonl",
        "minidump.dmp",
        "screenshot.png",
        *ANALYSIS,
    }
    assert "last words" in (result.crash.folder / "dbgprint-tail.txt").read_text()
    document = json.loads((result.crash.folder / "crash.json").read_text())
    assert document["scenario"] == "s.down"
    assert sorted(document["artifacts"]) == sorted(kept)


def test_a_dump_that_is_none_is_reported_and_costs_nothing_else(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        crash("exception", 0xC0000005)(agent, link)
        link.files.put(DUMP, b"hello")

    result = connected(make(script)).run(scenario("s.down"))
    assert result.crash
    assert any("is not a minidump" in note for note in result.crash.notes)
    assert "minidump.dmp" not in result.crash.artifacts
    assert "screenshot.png" in result.crash.artifacts


def test_no_progress_is_a_hang(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.stuck", lambda command: None)

    bench = connected(make(script))
    assert bench.run(scenario("s.stuck", deadline_s=0.2)).outcome is Outcome.HUNG
    expected = bench.run(scenario("s.stuck", deadline_s=0.2, expect_crash=CrashExpectation(hang=True)))
    assert expected.outcome is Outcome.PASSED
    assert expected.crash
    assert expected.crash.kind == "hang"
    assert {"hang.json", "screenshot.png", "crash.json"} <= set(expected.crash.artifacts)
    rungs = json.loads((expected.crash.folder / "hang.json").read_text())["rungs"]
    assert [(rung["name"], rung["gave"]) for rung in rungs] == [
        *(("break-in", "skipped"), ("nmi", "skipped"), ("screenshot", "answer"), ("kill", "answer")),
    ]
    assert any("hang: nmi: skipped: the profile turns this probe off" in note for note in expected.notes)


def test_a_hung_guest_that_answers_an_nmi_is_asked_for_that_dump(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.stuck", lambda command: None)

    setup = make(script, Hang(nmi=5))
    setup.machine.on_nmi = lambda: setup.guest.debug.break_down("bugcheck", 0x80, 1, 2, 3, 4)
    result = connected(setup).run(scenario("s.stuck", deadline_s=0.2))
    assert result.outcome is Outcome.HUNG
    assert result.crash
    assert result.crash.kind == "hang"
    assert setup.guest.dumps_of[-1].code == 0x80
    assert any("hang: nmi: answer: bugcheck 0x00000080" in note for note in result.notes)
    assert "stop" not in setup.machine.calls, "it may be writing its dump"


def test_a_scenario_that_should_crash_and_does_not_fails(make: Callable[..., Setup]) -> None:
    result = connected(make()).run(scenario(expect_crash=BUGCHECK))
    assert result.outcome is Outcome.FAILED
    assert "expected to crash the guest" in result.message


def test_a_crash_after_the_end_is_blamed_on_the_scenario_before(make: Callable[..., Setup]) -> None:
    setup = make()
    bench = connected(setup)
    assert bench.run(scenario("s.guilty")).outcome is Outcome.PASSED
    setup.guest.debug.break_down("bugcheck", 0xE2, 1, 2, 3, 4)
    result = bench.run(scenario("s.innocent", expect_crash=BUGCHECK))
    assert result.outcome is Outcome.CRASHED
    assert result.message.startswith("Not run: s.guilty took the driver down after its end.")


def test_a_lost_agent_is_reported_and_the_next_scenario_runs(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.kill", lambda command: agent.process.end(3))

    setup = make(script)
    bench = connected(setup)
    lost = bench.run(scenario("s.kill"))
    assert lost.outcome is Outcome.LOST
    assert "exited with code 0x3" in lost.message
    assert bench.run(scenario()).outcome is Outcome.PASSED
    assert setup.machine.calls.count("revert") == 1


def test_output_that_is_no_event_loses_the_agent(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.print", lambda command: agent.process.say(b"Hello, \x1b[31mworld\n"))

    result = connected(make(script)).run(scenario("s.print"))
    assert result.outcome is Outcome.LOST
    assert "'Hello, \\x1b[31mworld'" in result.message


def test_a_crash_in_driver_entry_ends_the_start(make: Callable[..., Setup]) -> None:
    def script(agent: FakeAgent, link: FakeLink) -> None:
        def down(command: dict[str, Any]) -> None:
            agent.debug.break_down("bugcheck", 0x7E, 1, 2, 3, 4)

        agent.when("load", down)

    setup = make(script)
    with pytest.raises(DriverLoadError, match="crashed while it was loaded: bugcheck 0x0000007e"):
        setup.bench.connect("release")
    assert list((setup.artifacts.path / "crashes").iterdir())


def test_a_build_that_does_not_exist_is_named(make: Callable[..., Setup]) -> None:
    result = connected(make()).run(scenario(build="checked"))
    assert result.outcome is Outcome.ERROR
    assert "no driver build 'checked'" in result.message


def test_a_restore_that_fails_once_is_tried_again(make: Callable[..., Setup]) -> None:
    def lost(agent: FakeAgent, link: FakeLink) -> None:
        agent.when("s.one", lambda command: agent.process.fail())

    setup = make(lost)
    bench = connected(setup)
    assert bench.run(scenario()).outcome is Outcome.LOST
    setup.machine.fail_next = MachineError("The restore failed.")
    bench.guest.recover()
    assert setup.machine.calls.count("revert") == 2
    assert "The restore failed." in (setup.artifacts.path / "run.jsonl").read_text()
    bench.close()


def warm(make: Callable[..., Setup], script: Script = lambda agent, link: None) -> Setup:
    """A bench in the guest that another one handed over."""
    setup = make(script)
    handover = connected(setup).guest.hand_over()
    assert setup.machine.state() is MachineState.PAUSED
    setup.machine.calls.clear()
    setup.bench = setup.new_bench(handover)
    return setup


def test_a_guest_handed_over_keeps_agent_and_files(make: Callable[..., Setup]) -> None:
    setup = warm(make)
    bench = connected(setup)
    assert bench.run(scenario()).outcome is Outcome.PASSED
    assert setup.machine.calls == ["resume"]
    assert agent_of(setup).commands[0]["cmd"] == "unload"  # no hello: it is the agent of the earlier process
    assert setup.guest.links[-1].files.files == {}


def test_only_what_changed_is_pushed_to_a_guest_handed_over(
    make: Callable[..., Setup], tmp_path: Path
) -> None:
    setup = warm(make)
    (tmp_path / "release.sys").write_bytes(b"edited")
    connected(setup)
    assert setup.guest.links[-1].files.files == {r"c:\run\release\drv.sys": b"edited"}


def test_a_guest_handed_over_whose_agent_is_gone_is_restored(make: Callable[..., Setup]) -> None:
    setup = warm(make)
    setup.guest.links[-1].scripted.when("unload", lambda command: agent_of(setup).process.end(1))
    bench = connected(setup)
    assert setup.machine.calls[:2] == ["resume", "revert"]
    assert bench.run(scenario()).outcome is Outcome.PASSED


def test_a_guest_that_crashed_last_is_restored_before_it_is_handed_over(make: Callable[..., Setup]) -> None:
    setup = make(crash("bugcheck", 0xE2, 1, 2, 3, 4))
    bench = connected(setup)
    assert bench.run(scenario("s.down")).outcome is Outcome.CRASHED
    bench.guest.hand_over()
    assert "revert" in setup.machine.calls
    assert setup.machine.calls[-1] == "suspend"


def stays_loaded(agent: FakeAgent, link: FakeLink) -> None:
    agent.when("unload", lambda _: agent.say("unloaded", ok=False, message="service drv stays RUNNING"))


def test_a_guest_whose_driver_does_not_unload_is_restored_for_the_next_build(
    make: Callable[..., Setup],
) -> None:
    """The driver that comes next is not blamed for the one that stays."""
    setup = make(stays_loaded)
    bench = connected(setup)
    links = len(setup.guest.links)
    assert bench.run(scenario(build="release")).outcome is Outcome.PASSED
    assert len(setup.guest.links) == links
    result = bench.run(scenario(build="fault"))
    assert (result.outcome, bench.guest.loaded) == (Outcome.PASSED, "fault")
    assert len(setup.guest.links) > links
    journal = (setup.artifacts.path / "run.jsonl").read_text()
    assert "the driver before does not unload: service drv stays RUNNING" in journal

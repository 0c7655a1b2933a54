"""One run of the agent against the shipped fake guest."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from unittest.mock import ANY

import pytest
from agent import Context, Win32Error, scenario
from agent.errors import RegistryError
from agent.registry import Registered, declared_scenarios, forget_scenarios
from scenarios import contract

from tests.fakes.agent_conversation import HELLO, Event, converse, run_one
from tests.fakes.agent_guest import FakeGuest


@pytest.fixture(autouse=True)
def empty_registry() -> Iterator[None]:
    forget_scenarios()
    yield
    forget_scenarios()


def test_ready_lists_the_scenarios() -> None:
    @scenario
    def works(t: Context) -> None: ...

    code, events = converse(FakeGuest(), {"cmd": "quit"})
    assert code == 0
    assert events[1]["event"] == "ready"
    assert events[1]["protocol"] == 1
    assert events[1]["scenarios"] == [declared_scenarios()[0].name]


def test_a_passing_scenario_reports_what_it_did() -> None:
    guest = FakeGuest()

    def works(t: Context) -> None:
        t.record("DeviceIoControl", "code=0x222000")
        t.note(f"params {t.params['x']}, irql {t.has('irql')}")
        t.expect_dbgprint("later.*")
        print("printed", 1)

    event = run_one(works, guest, expect_dbgprint=["first"])
    assert (event["outcome"], event["message"], event["operations"]) == ("passed", "", 1)
    assert event["expect_dbgprint"] == ["first", "later.*"]
    assert event["notes"] == ["params 1, irql True", "printed 1"]
    assert json.loads(guest.lines[0])["scenario"] == event["scenario"]
    assert [text.split()[2:4] for text in guest.printed] == [["begin", "7"], ["end", "7"]]


def test_the_marker_comes_before_and_after_the_body() -> None:
    guest = FakeGuest()

    def looks(t: Context) -> None:
        t.note(len(guest.printed))

    assert run_one(looks, guest)["notes"] == ["1"]
    assert len(guest.printed) == 2


def test_a_missing_capability_is_named_and_the_body_not_run() -> None:
    def fails(t: Context) -> None:
        raise AssertionError("it ran")

    event = run_one(fails, needs=["irql", "wow64", "pool-tags"])
    assert (event["outcome"], event["message"]) == ("skipped", "the guest lacks wow64, pool-tags")


def test_notes_are_capped() -> None:
    def talks(t: Context) -> None:
        for _ in range(1000):
            print("x" * 5000)

    notes = run_one(talks)["notes"]
    assert len(notes) == 100
    assert {len(note) for note in notes} == {1000}


def test_an_unknown_scenario_is_an_error_of_its_own() -> None:
    _, events = converse(FakeGuest(), {"cmd": "run", "id": 1, "scenario": "no.such", "deadline_s": 1})
    assert events[-1]["outcome"] == "error"
    assert "no.such" in events[-1]["message"]


def test_a_scenario_that_leaves_the_driver_unloaded_gets_it_loaded_again() -> None:
    guest = FakeGuest()

    def takes_it_down(t: Context) -> None:
        t.used_services = True
        guest.unload(t.service, t)

    scenario(takes_it_down)
    name = declared_scenarios()[0].name
    _, events = converse(
        guest,
        {"cmd": "load", "service": "winvm", "sys": "C:\\x.sys", "contract": None},
        {"cmd": "run", "id": 1, "scenario": name, "deadline_s": 5},
    )
    assert events[-1]["notes"] == ["the driver was loaded again after the scenario"]
    assert guest.running == {"winvm": "C:\\x.sys"}


def hello_answer(version: int = contract.CONTRACT_VERSION, digest: bytes = contract.CONTRACT_HASH) -> bytes:
    answer = contract.Hello(version=version)
    answer.hash = type(answer.hash)(*digest)
    return bytes(answer)


LOAD = {"cmd": "load", "service": "winvm", "sys": "C:\\x.sys", "contract": "contract"}


def loaded(guest: FakeGuest, command: Event = LOAD) -> Event:
    _, events = converse(guest, command)
    assert events[-1]["event"] == "loaded"
    return events[-1]


def test_load_compares_the_contract() -> None:
    assert loaded(FakeGuest(answer=hello_answer()))["ok"] is True


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (hello_answer(version=99), "contract version 99"),
        (hello_answer(digest=bytes(32)), "(0000000000000000)"),
        (b"short", "has 5 bytes"),
    ],
)
def test_another_contract_is_a_mismatch(answer: bytes, message: str) -> None:
    event = loaded(FakeGuest(answer=answer))
    assert (event["ok"], event["contract_mismatch"]) == (False, True)
    assert message in event["message"]


def test_a_hello_of_too_many_bytes_is_the_drivers_fault() -> None:
    event = loaded(FakeGuest(answer=hello_answer() + bytes(4000)))
    assert (event["ok"], event["contract_mismatch"]) == (False, False)
    size = len(hello_answer())
    assert f"reported {size + 4000} bytes in a buffer of {size}" in event["message"]


def test_no_contract_is_not_checked() -> None:
    assert loaded(FakeGuest(), {**LOAD, "contract": None})["ok"] is True


def test_a_missing_contract_module_is_reported() -> None:
    event = loaded(FakeGuest(), {**LOAD, "contract": "nowhere"})
    assert (event["ok"], event["contract_mismatch"]) == (False, False)
    assert "scenarios.nowhere" in event["message"]


def test_a_driver_that_does_not_start_gives_its_code() -> None:
    event = loaded(FakeGuest(load_error=1275))
    assert (event["ok"], event["error_code"]) == (False, 1275)
    assert "ERROR_DRIVER_BLOCKED" in event["message"]


def test_a_service_that_an_inf_installed_is_only_started() -> None:
    guest = FakeGuest()
    _, events = converse(guest, {"cmd": "load", "service": "winvm", "sys": None, "contract": None})
    assert events[-1]["ok"] is True
    assert guest.running == {"winvm": "installed"}


def test_unload() -> None:
    guest = FakeGuest()
    _, events = converse(guest, {**LOAD, "contract": None}, {"cmd": "unload", "service": "winvm"})
    assert events[-1]["event"] == "unloaded"
    assert events[-1]["ok"] is True
    assert guest.running == {}


def test_no_journal_is_allowed_only_when_the_host_says_so() -> None:
    refused = FakeGuest(serial_error=2)
    code, events = converse(refused)
    assert code == 2
    assert events[1]["event"] == "fatal"
    assert "COM2" in events[1]["message"]
    code, events = converse(refused, hello={**HELLO, "journal": None})
    assert (code, events[1]["event"]) == (0, "ready")


@pytest.mark.parametrize(
    ("commands", "message"),
    [
        ([{"cmd": "dance"}], "unknown command 'dance'"),
        ([{"cmd": "run", "id": 1}], "lacks the field 'scenario'"),
        ([{"nothing": 1}], "not a command"),
    ],
)
def test_a_command_that_cannot_be_used_ends_the_run(commands: list[Event], message: str) -> None:
    code, events = converse(FakeGuest(), *commands)
    assert code == 2
    assert events[-1]["event"] == "fatal"
    assert message in events[-1]["message"]


def test_operations_are_replayed_in_place_of_the_scenario() -> None:
    opening = {"opens": 1, "path": "a", "access": 3, "share": 1, "overlapped": False}
    run = {"cmd": "run", "scenario": "s.one", "deadline_s": 5.0}
    guest = FakeGuest()
    _, events = converse(
        guest,
        {**run, "id": 1, "operations": [["ReadFile", {"on": 9, "length": 1}]]},
        {**run, "id": 2, "operations": [["CreateFile", opening]]},
    )
    assert (events[2]["outcome"], events[2]["notes"]) == ("passed", ["0 operations issued"])
    assert json.loads(guest.lines[-1]) == {
        "n": 1,
        "run": 2,
        "scenario": "s.one",
        "op": "CreateFile",
        "detail": "\\\\.\\a access=0x3 share=1 flags=0x0",
        "call": {**opening, "opens": ANY, "path": "\\\\.\\a"},
    }
    assert "on Windows only" in events[3]["message"]


def test_the_seed_of_the_run_reaches_the_scenario() -> None:
    def draws(t: Context) -> None:
        t.note(f"{t.seed} {random.random()}")

    scenario(draws)
    run = {"cmd": "run", "scenario": declared_scenarios()[0].name, "deadline_s": 5.0}
    _, events = converse(FakeGuest(), *({**run, "id": number, "seed": 5} for number in (1, 2)))
    assert events[2]["notes"] == events[3]["notes"] == [f"5 {random.Random(5).random()}"]


def test_hello_comes_first_and_carries_a_nonce() -> None:
    assert "must be hello" in converse(FakeGuest(), hello={"cmd": "load"})[1][1]["message"]
    assert "marker" in converse(FakeGuest(), hello={"cmd": "hello"})[1][1]["message"]


def test_broken_scenarios_are_fatal_with_file_and_line() -> None:
    def broken() -> Sequence[Registered]:
        raise RegistryError("import failed: ValueError: x", "/a/agent.pyz/scenarios/ioctl.py", 12)

    code, events = converse(FakeGuest(), collected=broken)
    assert code == 2
    assert events[-1] == {"event": "fatal", "message": "ioctl.py:12: import failed: ValueError: x"}


def ran_with_service(guest: FakeGuest, body: Callable[[Context], None]) -> Event:
    """Loads a driver, runs one scenario with it; its `finished` event."""
    declare: Any = scenario
    declare(body)
    name = declared_scenarios()[0].name
    load = {"cmd": "load", "service": "drv", "sys": "C:\\drv.sys"}
    _, events = converse(guest, load, {"cmd": "run", "id": 1, "scenario": name, "deadline_s": 5.0})
    return events[-1]


def test_a_driver_that_died_is_witnessed() -> None:
    guest = FakeGuest()

    def dies(t: Context) -> None:
        """The driver goes down, and the scenario notices nothing."""
        guest.died["drv"] = 1067

    finished = ran_with_service(guest, dies)
    assert (finished["outcome"], finished["driver_exit"]) == ("passed", 1067)


def test_a_driver_that_dies_a_moment_after_the_failure_is_witnessed() -> None:
    class Slow(FakeGuest):
        asked = 0

        def exit_code(self, service: str, scope: Any, *, restarted: bool = False) -> int:
            self.asked += 1
            return 1067 if self.asked > 2 else 0

    def fails(t: Context) -> None:
        """The operation fails before the service control manager knows why."""
        raise Win32Error(5, "DeviceIoControl(x)")

    finished = ran_with_service(Slow(), fails)
    assert (finished["outcome"], finished["driver_exit"]) == ("error", 1067)


def test_a_driver_that_runs_is_no_crash() -> None:
    def fine(t: Context) -> None:
        """Nothing happens."""

    assert ran_with_service(FakeGuest(), fine)["driver_exit"] == 0

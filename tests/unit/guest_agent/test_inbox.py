"""The agent answers `look` while a scenario runs: the driver's service, the operation, the line."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any

from agent import Context, scenario, underway
from agent.protocol import Wire
from agent.registry import declared_scenarios
from agent.runner import serve

from tests.fakes.agent_conversation import HELLO, Event
from tests.fakes.agent_guest import FakeGuest
from tests.unit.guest_agent.test_runner import empty_registry

__all__ = ["empty_registry"]


class Talk:
    """A conversation in which the host speaks while a scenario runs."""

    def __init__(self, guest: FakeGuest, *commands: Event) -> None:
        source, self._host = os.pipe()
        self.sink = io.BytesIO()
        wire = Wire(os.fdopen(source, "rb"), self.sink)
        self._agent = threading.Thread(target=serve, args=(wire, guest, declared_scenarios), daemon=True)
        self.say(HELLO, *commands)
        self._agent.start()

    def say(self, *commands: Event) -> None:
        os.write(self._host, b"".join(json.dumps(command).encode() + b"\n" for command in commands))

    def heard(self, event: str) -> list[Event]:
        lines = [json.loads(line) for line in self.sink.getvalue().splitlines()]
        return [line for line in lines if line["event"] == event]

    def wait(self, event: str) -> Event:
        end = time.monotonic() + 10
        while not (found := self.heard(event)) and time.monotonic() < end:
            time.sleep(0.01)
        return found[0]

    def close(self) -> None:
        os.close(self._host)
        self._agent.join(10)


def asked_while_running(guest: FakeGuest, body: Callable[[Context], None], going: threading.Event) -> Event:
    """The answer to `look` that came while `body` ran; `going` is set by the body once it is to be asked."""
    declare: Any = scenario
    declare(body)
    name = declared_scenarios()[0].name
    load = {"cmd": "load", "service": "drv", "sys": "C:\\a.sys"}
    talk = Talk(guest, load, {"cmd": "run", "id": 1, "scenario": name, "deadline_s": 5.0})
    going.wait(10)
    talk.say({"cmd": "look", "id": 9, "driver": True})
    answer = talk.wait("looked")
    assert talk.heard("finished") == []
    over.set()
    assert talk.wait("finished")["outcome"] == "passed"
    talk.say({"cmd": "quit"})
    talk.close()
    return answer


over = threading.Event()


def test_a_look_while_a_scenario_spins_names_its_line_and_no_operation() -> None:
    guest, going = FakeGuest(), threading.Event()
    over.clear()

    def spins(t: Context) -> None:
        while not over.is_set():
            going.set()
            for _ in range(10_000):
                pass

    answer = asked_while_running(guest, spins, going)
    assert (answer["id"], answer["operation"], answer["driver_runs"]) == (9, "", True)
    assert "test_inbox.py:" in answer["where"]
    assert answer["where"].endswith("in spins")
    assert "agent/runner" not in answer["stack"]


def test_a_look_while_a_call_does_not_return_names_the_operation() -> None:
    guest, going = FakeGuest(), threading.Event()
    over.clear()

    def waits(t: Context) -> None:
        t.record("DeviceIoControl", "Device code=0x222003")
        guest.died["drv"] = 1067
        thread = underway.enter("DeviceIoControl")
        going.set()
        over.wait(10)  # in a call, as far as anybody can see
        underway.leave(thread)
        del guest.died["drv"]

    answer = asked_while_running(guest, waits, going)
    assert answer["driver_runs"] is False
    assert answer["operation"] == "DeviceIoControl Device code=0x222003"
    assert answer["where"].endswith("in waits")


def test_a_look_at_a_driver_that_does_not_stop_says_since_when_it_was_asked() -> None:
    guest, going = FakeGuest(), threading.Event()
    over.clear()

    def stops(t: Context) -> None:
        t.record("ControlService", "drv stop")
        underway.stop_asked("drv")
        underway.leave(underway.enter("ControlService"))
        guest.stopping.add("drv")
        time.sleep(0.05)
        going.set()
        while not over.is_set():
            time.sleep(0.01)  # in its own code: the call has returned
        guest.stopping.clear()

    answer = asked_while_running(guest, stops, going)
    assert (answer["driver_runs"], answer["operation"]) == (True, "")
    assert answer["stopping"] >= 0.05
    assert answer["idle"] >= 0.05
    assert answer["holds"] is False


def test_nothing_is_idle_while_a_call_has_not_returned() -> None:
    guest, going = FakeGuest(), threading.Event()
    over.clear()

    def waits(t: Context) -> None:
        t.record("ReadFile", "Device 4")
        thread = underway.enter("ReadFile")
        going.set()
        while not over.is_set():
            time.sleep(0.01)
        underway.leave(thread)

    assert asked_while_running(guest, waits, going)["idle"] is None


def test_nothing_is_known_of_what_a_second_process_does() -> None:
    guest, going = FakeGuest(), threading.Event()
    over.clear()
    underway.process_started(lambda: not over.is_set())

    def sleeps(t: Context) -> None:
        t.record("ReadFile", "Device 4")
        underway.leave(underway.enter("ReadFile"))
        going.set()
        while not over.is_set():
            time.sleep(0.01)

    answer = asked_while_running(guest, sleeps, going)
    assert (answer["idle"], answer["holds"]) == (None, True)

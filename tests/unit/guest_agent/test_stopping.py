"""A scenario that asks its driver to stop: the agent waits for the end of it, and says when none comes."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from agent import Context, Win32Error, scenario, underway
from agent.registry import declared_scenarios

from tests.fakes.agent_conversation import Event, converse
from tests.fakes.agent_guest import FakeGuest
from tests.unit.guest_agent.test_runner import empty_registry

__all__ = ["empty_registry"]


def finished(guest: FakeGuest, body: Callable[[Context], None]) -> Event:
    scenario(body)
    name = declared_scenarios()[0].name
    load = {"cmd": "load", "service": "drv", "sys": "C:\\x.sys", "contract": None}
    _, events = converse(guest, load, {"cmd": "run", "id": 1, "scenario": name, "deadline_s": 5})
    return events[-1]


@pytest.mark.parametrize(("raises", "outcome"), [(False, "passed"), (True, "error")])
def test_a_driver_that_does_not_stop_is_reported_and_not_loaded_again(
    monkeypatch: pytest.MonkeyPatch, raises: bool, outcome: str
) -> None:
    guest = FakeGuest()
    monkeypatch.setattr("agent.runner.STOPPING_S", 0.2)

    def stops(t: Context) -> None:
        t.used_services = True
        underway.stop_asked("drv")
        guest.stopping.add("drv")
        if raises:
            raise Win32Error(109, "ControlService(drv, stop)")

    event = finished(guest, stops)
    assert event["outcome"] == outcome
    assert event["stopping"] >= 0.2
    assert event["notes"] == []


def test_a_driver_that_stops_late_is_waited_for_and_loaded_again() -> None:
    guest = FakeGuest()

    def stops(t: Context) -> None:
        t.used_services = True
        underway.stop_asked("drv")
        guest.stopping.add("drv")

        def stopped() -> None:
            guest.running.clear()
            guest.stopping.clear()

        threading.Timer(0.2, stopped).start()

    event = finished(guest, stops)
    assert (event["outcome"], event["stopping"]) == ("passed", 0.0)
    assert event["notes"] == ["the driver was loaded again after the scenario"]

"""A driver is taken to run without a question to the SCM only while all hosts that were seen with it run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from agent import Context
from agent.hosting import Hosts

from tests.fakes.agent_guest import FakeGuest
from tests.unit.guest_agent.test_runner import empty_registry
from tests.unit.guest_agent.test_stopping import finished

__all__ = ["empty_registry"]


class Kernel:
    """Hosts by number; a handle is ten times that."""

    def __init__(self) -> None:
        self.alive = {4, 5}
        self.handles: set[int] = set()
        self.hosts = Hosts(self.open, self.all_run, self.handles.remove)

    def open(self) -> list[int]:
        opened = [number * 10 for number in sorted(self.alive)]
        self.handles |= set(opened)
        return opened

    def all_run(self, handles: Sequence[int]) -> bool:
        assert set(handles) <= self.handles
        return {handle // 10 for handle in handles} <= self.alive

    def seen(self, service: str) -> None:
        self.hosts.keep(service, self.hosts.opened())


def test_hosts_are_held_until_a_service_is_started_or_stopped() -> None:
    kernel = Kernel()
    assert not kernel.hosts.run("lamp")
    kernel.seen("lamp")
    assert kernel.hosts.run("lamp")
    assert not kernel.hosts.run("dimmer")
    kernel.alive.add(6)
    assert kernel.hosts.run("lamp"), "another driver has started"
    kernel.alive.remove(4)
    assert not kernel.hosts.run("lamp"), "it may have been its own"
    kernel.seen("lamp")
    assert (kernel.hosts.run("lamp"), kernel.handles) == (True, {50, 60})
    kernel.hosts.forget()
    assert (kernel.hosts.run("lamp"), kernel.handles) == (False, set())


@pytest.mark.parametrize(("service", "alive"), [("", {4, 5}), ("lamp", set[int]())])
def test_of_a_service_that_does_not_run_or_no_hosts_nothing_is_known(service: str, alive: set[int]) -> None:
    kernel = Kernel()
    kernel.seen("lamp")
    kernel.alive = alive
    kernel.seen(service)
    assert (kernel.hosts.run("lamp"), kernel.hosts.run(""), kernel.handles) == (False, False, set())


@pytest.mark.parametrize("uses", [True, False])
def test_after_a_scenario_that_used_services_the_service_itself_is_asked_for(uses: bool) -> None:
    asked = []

    class Asked(FakeGuest):
        def exit_code(self, service: str, scope: Any, *, restarted: bool = False) -> int:
            asked.append(restarted)
            return 0

    def body(t: Context) -> None:
        t.used_services = uses

    assert finished(Asked(), body)["outcome"] == "passed"
    assert asked == [uses]

"""What the agent tells a driver's guard, and that a driver without one is told nothing."""

from __future__ import annotations

import pytest
from agent.errors import Win32Error
from agent.guarded import BEGIN, END, Guarded, guarded, silent
from agent.win32.handle import Scope

TOLD: list[tuple[str, int, int]] = []


@pytest.fixture(autouse=True)
def _nothing_told() -> None:
    TOLD.clear()


def tell(service: str, part: int, number: int, scope: Scope) -> None:
    TOLD.append((service, part, number))


def refuse(service: str, part: int, number: int, scope: Scope) -> None:
    tell(service, part, number, scope)
    raise Win32Error(2, "CreateFile")


def test_a_scenario_begins_with_its_plan_and_ends() -> None:
    guard = Guarded("sins", silent, tell)
    guard.begin(1 << 32 | 3)
    guard.end()
    assert TOLD == [("sins", BEGIN, 1 << 32 | 3), ("sins", END, 0)]


def test_a_command_without_a_plan_fails_nothing() -> None:
    guard = Guarded("sins", silent, tell)
    guard.begin(None)
    guard.begin("many")
    assert TOLD == [("sins", BEGIN, 0), ("sins", BEGIN, 0)]


def test_a_driver_that_was_stopped_is_left_alone() -> None:
    guard = Guarded("sins", silent, refuse)
    guard.begin()
    guard.end()
    assert len(TOLD) == 2


def test_a_driver_without_a_guard_is_told_nothing() -> None:
    guarded({"coverage": "sins"}).begin(7)
    Guarded(None, silent, tell).begin(7)
    assert TOLD == []

"""A device node is made, gets its driver and is removed, and nothing is left where Windows refuses."""

from __future__ import annotations

import pytest
from agent import Context
from agent.deadline import Deadline
from agent.errors import SkipScenario, Win32Error
from agent.win32.root_device import NodeStatus, RootDevice

from tests.fakes.pnp_manager import NO_CATALOG, NO_SUCH_DEVINST, PROBLEM_FAILED_START, FakePnp

INF, MODEL = r"C:\winvm\files\lamp\lamp.inf", r"Root\Lamp"


class Scope:
    """Keeps the operations that are recorded."""

    def __init__(self) -> None:
        self.operations: list[str] = []
        self.deadline = Deadline.after(5)

    def record(self, operation: str, detail: str, call: dict[str, object] | None = None) -> None:
        self.operations.append(f"{operation} {detail}")


def test_a_node_has_the_driver_inside_its_block_and_is_gone_after_it() -> None:
    scope, pnp = Scope(), FakePnp(INF, MODEL, restart=True)
    with RootDevice.create(MODEL, INF, scope, pnp.calls) as node:
        (made,) = pnp.tree.values()
        assert (made.ids, made.driver) == ([MODEL], INF)
        assert (node.instance, node.restart_needed) == (r"ROOT\SYSTEM\0000", True)
        assert node.status().started
    assert (pnp.tree, pnp.lists, node.exists) == ({}, set(), False)
    node.remove()
    assert scope.operations == [
        r"SetupDiCallClassInstaller DIF_REGISTERDEVICE ROOT\SYSTEM\0000",
        rf"UpdateDriverForPlugAndPlayDevices ROOT\SYSTEM\0000 {MODEL} {INF}",
        r"SetupDiCallClassInstaller DIF_REMOVE ROOT\SYSTEM\0000",
    ], "a driver that crashes in one of them is seen there"
    with pytest.raises(Win32Error, match="CM_Get_DevNode_Status"):
        node.status()


def test_a_device_that_does_not_start_says_its_problem() -> None:
    pnp = FakePnp(INF, MODEL, starts=False)
    with RootDevice.create(MODEL, INF, Scope(), pnp.calls) as node:
        assert node.status() == NodeStatus(0x400, PROBLEM_FAILED_START)
        assert not node.status().started


@pytest.mark.parametrize(
    "export", ["inf_class", "create_info", "set_property", "instance_id", "call_installer", "update_driver"]
)
def test_where_windows_refuses_no_node_is_left(export: str) -> None:
    pnp = FakePnp(INF, MODEL, refused={export: NO_CATALOG})
    with pytest.raises(Win32Error) as caught:
        RootDevice.create(MODEL, INF, Scope(), pnp.calls)
    assert (caught.value.code, pnp.tree, pnp.lists) == (NO_CATALOG, {}, set())
    assert "left" not in str(getattr(caught.value, "__notes__", ""))


def test_an_inf_without_this_hardware_id_is_refused() -> None:
    pnp = FakePnp(INF, MODEL)
    with pytest.raises(Win32Error) as caught:
        RootDevice.create(r"Root\Dimmer", INF, Scope(), pnp.calls)
    assert (caught.value.code, pnp.tree, pnp.lists) == (NO_SUCH_DEVINST, {}, set())


def test_a_node_that_stays_is_said() -> None:
    pnp = FakePnp(INF, MODEL, held=True)
    node = RootDevice.create(MODEL, INF, Scope(), pnp.calls)
    with pytest.raises(AssertionError, match=r"ROOT\\SYSTEM\\0000 is still there"):
        node.remove()
    assert pnp.lists == set()
    held = FakePnp(INF, MODEL, held=True)
    with pytest.raises(Win32Error) as caught:
        RootDevice.create(r"Root\Dimmer", INF, Scope(), held.calls)
    assert "still there" in caught.value.__notes__[0], "the first error is the one that counts"


@pytest.mark.parametrize(
    ("model", "inf"), [(MODEL, "lamp.inf"), (MODEL, r"\lamp.inf"), ("", INF), ("x" * 200, INF), ("a\0b", INF)]
)
def test_what_names_no_inf_or_no_device_is_refused_before_anything_is_made(model: str, inf: str) -> None:
    pnp = FakePnp(inf, model)
    with pytest.raises(ValueError, match="is no"):
        RootDevice.create(model, inf, Scope(), pnp.calls)
    assert pnp.lists == set()


def context(*capabilities: str) -> Context:
    return Context(
        "x", lambda _operation, _detail, _call=None: None, Deadline.after(5), capabilities=capabilities
    )


def test_a_guest_without_packages_skips_and_names_the_capability() -> None:
    with pytest.raises(SkipScenario, match=r"guest lacks inf-package, .* lamp/lamp\.inf"):
        context("irql").root_device(MODEL, "lamp/lamp.inf")


@pytest.mark.parametrize("held", [False, True])
def test_a_node_that_a_scenario_leaves_is_removed_at_its_end(held: bool) -> None:
    t = context("inf-package")
    pnp = FakePnp(INF, MODEL, held=held)
    t._nodes.append(RootDevice.create(MODEL, INF, t, pnp.calls))
    problems = t.close_leftovers()
    assert problems[0] == r"device node ROOT\SYSTEM\0000 was left"
    assert ["is still there" in problem for problem in problems[1:]] == [True] * held
    assert (pnp.lists, t.close_leftovers()) == (set(), [])

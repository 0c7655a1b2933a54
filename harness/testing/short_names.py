"""The plugin's fixtures without their prefix: `scenario`, `driver`, `guest`, `agent`, `vm`, `dbgprint`,
`crash`, `bench`.

A project can use these names if no other plugin and no conftest.py of its own defines them:

    pytest_plugins = ["harness.testing.short_names"]  # in the conftest.py beside winvm.toml
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.machine.protocol import Machine
    from harness.run.bench import Bench
    from harness.testing.fixtures import AgentHandle, CrashHandle, DbgPrintHandle, DriverHandle, GuestHandle
    from harness.testing.plugin import ScenarioRun


@pytest.fixture
def scenario(winvm_scenario: ScenarioRun) -> ScenarioRun:
    """`winvm_scenario`."""
    return winvm_scenario


@pytest.fixture(scope="session")
def bench(winvm_bench: Bench) -> Bench:
    """`winvm_bench`."""
    return winvm_bench


@pytest.fixture
def vm(winvm_vm: Machine) -> Machine:
    """`winvm_vm`."""
    return winvm_vm


@pytest.fixture
def guest(winvm_guest: GuestHandle) -> GuestHandle:
    """`winvm_guest`."""
    return winvm_guest


@pytest.fixture
def agent(winvm_agent: AgentHandle) -> AgentHandle:
    """`winvm_agent`."""
    return winvm_agent


@pytest.fixture
def driver(winvm_driver: DriverHandle) -> DriverHandle:
    """`winvm_driver`."""
    return winvm_driver


@pytest.fixture
def dbgprint(winvm_dbgprint: DbgPrintHandle) -> DbgPrintHandle:
    """`winvm_dbgprint`."""
    return winvm_dbgprint


@pytest.fixture
def crash(winvm_crash: CrashHandle) -> CrashHandle:
    """`winvm_crash`."""
    return winvm_crash

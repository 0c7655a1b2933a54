"""Fixtures for tests that use the guest by hand: `winvm_vm`, `winvm_guest`, `winvm_agent`, `winvm_driver`,
`winvm_dbgprint`, `winvm_crash`.

docs/fixtures.md has an example of each; harness.testing.short_names has them without the prefix.
All of a session's tests share one guest. A crashed guest is restored at its next use, with the driver's first
build loaded.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from harness.interfaces import CommandResult
    from harness.machine.protocol import Machine
    from harness.outcome import CrashRecord, DebugRecord, ScenarioResult
    from harness.project.config import Parameter
    from harness.run.bench import Bench
    from harness.testing.session import Session

POLL_S = 0.02
PULL_LIMIT = 1 << 30
RECORDS_KEPT = 100_000
MARKER = "WINVM-MARK "


class GuestHandle:
    """The guest's programs and files. Every method raises `TransportError` and `DeadlineError`."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def run(self, *argv: str, timeout_s: float = 60.0) -> CommandResult:
        """Runs a Windows program to its end; returns its exit code and output, whatever they are."""
        from harness.deadline import Deadline

        return usable(self._bench).guest.link.transport.run(argv, Deadline.after(timeout_s))

    def push(self, local: Path, guest_path: str, timeout_s: float = 300.0) -> int:
        """Copies a file to `guest_path` (`C:\\dir\\name`), creating folders; returns the bytes sent."""
        from harness.deadline import Deadline

        return usable(self._bench).guest.link.files.push(local, guest_path, Deadline.after(timeout_s))

    def pull(self, guest_path: str, local: Path, timeout_s: float = 300.0, limit: int = PULL_LIMIT) -> int:
        """Copies a file of at most `limit` bytes out of the guest; returns the bytes received."""
        from harness.deadline import Deadline

        return usable(self._bench).guest.link.files.pull(guest_path, local, Deadline.after(timeout_s), limit)


class AgentHandle:
    """Runs scenarios by name; their results are added to the run's results."""

    def __init__(self, bench: Bench, session: Session) -> None:
        self._bench = bench
        self._session = session

    def run(self, name: str, **parameters: Parameter) -> ScenarioResult:
        """Runs a scenario against the build that is loaded, unless it has a build of its own.

        Args:
            name: as `winvm run` shows it, without `@build`.
            parameters: override those of winvm.toml and `--winvm-param`.

        Raises:
            ConfigurationError: there is no such scenario.
        """
        from harness.display.suggestion import did_you_mean
        from harness.errors import ConfigurationError

        bench = usable(self._bench)
        known = [one for one in self._session.plan().scenarios if one.name.partition("@")[0] == name]
        if not known:
            names = (one.name.partition("@")[0] for one in self._session.plan().scenarios)
            raise ConfigurationError(
                f"There is no scenario {name!r}.{did_you_mean(name, names)}", remedy="`winvm list` shows all."
            )
        scenario = next((one for one in known if one.build == bench.guest.loaded), known[0])
        scenario = dataclasses.replace(scenario, build=scenario.build or bench.guest.loaded)
        result = bench.run(scenario, parameters)
        self._session.record(result)
        return result


class DriverHandle:
    """Which build of the driver is loaded."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    @property
    def build(self) -> str:
        """Name of the loaded build; empty when none is."""
        return usable(self._bench).guest.loaded

    def load(self, build: str) -> None:
        """Loads a build in place of another; raises `DriverLoadError`."""
        usable(self._bench).load(build)

    def unload(self) -> None:
        """Stops and removes the driver; raises `DriverLoadError` if the driver does not stop."""
        usable(self._bench).unload()


class DbgPrintHandle:
    """The lines that the guest's kernel printed since the test began."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._records: deque[DebugRecord] = deque(maxlen=RECORDS_KEPT)
        while bench.guest.debug.records():
            pass  # skips what was printed before this test

    @property
    def records(self) -> Sequence[DebugRecord]:
        """The newest 100,000 of them."""
        while new := self._bench.guest.debug.records():
            self._records.extend(
                one for one in new if one.source == "dbgprint" and not one.text.startswith(MARKER)
            )
        return tuple(self._records)

    def wait_for(self, pattern: str, timeout_s: float = 10.0) -> DebugRecord:
        """The first line that matches an RE2 pattern; fails the test if none arrives in time."""
        from harness.deadline import Deadline
        from harness.project.patterns import compile_pattern

        compiled, deadline = compile_pattern(pattern), Deadline.after(timeout_s)
        records: Sequence[DebugRecord] = ()
        for _ in deadline.tries(every=POLL_S):
            records = self.records
            for record in records:
                if compiled.search(record.text):
                    return record
        pytest.fail(f"No DbgPrint line of {len(records)} matched {pattern!r} within {timeout_s:g} s.")


class CrashHandle:
    """The crash that happened since the test began; its evidence is in the run's artifacts."""

    def __init__(self, bench: Bench, test: str) -> None:
        self._bench = bench
        self._test = test
        self._before = bench.crashes.last

    @property
    def last(self) -> CrashRecord | None:
        """The newest crash; None while there was none."""
        self._bench.take_crash(self._test)
        newest = self._bench.crashes.last
        return None if newest is self._before else newest

    def expect(
        self,
        *,
        bugcheck: int | None = None,
        parameters: tuple[int | None, ...] | None = None,
        exception: int | None = None,
        address: int | None = None,
        hang: bool = False,
        timeout_s: float = 10.0,
    ) -> CrashRecord:
        """The crash, if it is as described (see `@scenario(expect_crash=...)`); else the test fails."""
        from harness.crash.expectation import mismatch
        from harness.deadline import Deadline
        from harness.outcome import CrashExpectation

        deadline = Deadline.after(timeout_s)
        crash = next(filter(None, (self.last for _ in deadline.tries(every=POLL_S))), None)
        if crash is None:
            pytest.fail(f"The guest did not crash within {timeout_s:g} s.")
        expected = CrashExpectation(bugcheck, parameters, exception, address, hang)
        if wrong := mismatch(expected, crash.report):
            pytest.fail(f"{wrong} Its evidence is in {crash.folder}.")
        return crash


def usable(bench: Bench) -> Bench:
    """The bench with a guest that answers: a crashed guest is restored, its evidence kept."""
    bench.take_crash("between scenarios")
    if bench.guest.recover():
        bench.load(bench.guest.builds[0])
    return bench


@pytest.fixture
def winvm_vm(winvm_bench: Bench) -> Machine:
    """The virtual machine: screenshot, suspend and resume, state, events."""
    return usable(winvm_bench).guest.machine


@pytest.fixture
def winvm_guest(winvm_bench: Bench) -> GuestHandle:
    """Programs and files in the guest."""
    return GuestHandle(winvm_bench)


@pytest.fixture
def winvm_agent(winvm_bench: Bench, request: pytest.FixtureRequest) -> AgentHandle:
    """Runs scenarios by name, with parameters."""
    from harness.testing.session import Session

    return AgentHandle(winvm_bench, Session.of(request.config))


@pytest.fixture
def winvm_driver(winvm_bench: Bench) -> DriverHandle:
    """The loaded driver build; loads another one."""
    return DriverHandle(winvm_bench)


@pytest.fixture
def winvm_dbgprint(winvm_bench: Bench) -> DbgPrintHandle:
    """Debug output of this test."""
    return DbgPrintHandle(usable(winvm_bench))


@pytest.fixture
def winvm_crash(winvm_bench: Bench, request: pytest.FixtureRequest) -> CrashHandle:
    """The crash of this test."""
    return CrashHandle(usable(winvm_bench), request.node.name)

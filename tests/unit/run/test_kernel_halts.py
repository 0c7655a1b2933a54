"""A Windows kernel that halts in the driver under test, from its serial line to the scenario's result.

The kernel is a fake on a real line, everything above it is what a run uses: debug stream, session, bench.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.crash.dump_source import GuestMinidump
from harness.deadline import Deadline
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.manipulate import Api
from harness.debuggers.kd.stream import KdDebugStream
from harness.interfaces import DebugStream
from harness.machine.protocol import Machine
from harness.outcome import CrashExpectation, KernelCrash, Outcome
from harness.run.hold import Hold, ask_terminal
from tests.fakes.agent import FakeAgent
from tests.fakes.guest import FakeGuest, FakeLink
from tests.fakes.kd_lines import SerialTarget
from tests.fakes.kd_listening import FATAL
from tests.fakes.kd_machine import FakeKernel, exception, load_symbols, printed
from tests.unit.run.test_bench import Setup, scenario

BASE = 0xFFFFF80200000000
PC = BASE + 0x1234
BREAKPOINT, ASSERTION = 0x80000003, 0xC0000420


class DebuggedGuest(FakeGuest):
    """A guest whose debug output is that of a kernel on a serial line."""

    def __init__(self, kernel: FakeKernel, script: Callable[[FakeAgent, FakeLink], None]) -> None:
        super().__init__(script)
        self.target = SerialTarget(kernel)

    def debug_stream(self, machine: Machine, log: Path, nonce: str, skip: int = 0) -> Any:
        return KdDebugStream(KdcomWire(self.target.line, "line"), log, nonce)

    def dump(self, crash: KernelCrash, debug: DebugStream) -> GuestMinidump:
        return GuestMinidump("", absent="this kernel writes none.")


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Callable[..., tuple[Setup, FakeKernel]]]:
    open_setups: list[Setup] = []

    def make(*halts: Any) -> tuple[Setup, FakeKernel]:
        """A bench whose kernel says `halts` while the scenario runs, and no more of the scenario."""
        kernel = FakeKernel([load_symbols(r"\??\C:\run\release\drv.sys", BASE, 0x9000)])

        def script(agent: FakeAgent, link: FakeLink) -> None:
            agent.when("s.one", lambda command: kernel.script.extend(halts))

        setup = Setup(tmp_path, script)
        setup.guest = DebuggedGuest(kernel, script)
        setup.bench = setup.new_bench()
        open_setups.append(setup)
        setup.bench.connect("release")
        return setup, kernel

    yield make
    for setup in open_setups:
        setup.bench.close()
        setup.guest.target.close()  # type: ignore[attr-defined]


def went_on(kernel: FakeKernel) -> bool:
    """Whether the kernel was continued after its last halt."""
    return bool(kernel.asked) and kernel.asked[-1].api == Api.CONTINUE2


@pytest.mark.parametrize("code", [BREAKPOINT, ASSERTION])
def test_a_breakpoint_or_assertion_in_the_driver_ends_the_scenario_as_crashed(
    made: Callable[..., tuple[Setup, FakeKernel]], code: int
) -> None:
    setup, kernel = made(exception(code, PC), printed("and on\n"))
    result = setup.bench.run(scenario())
    assert result.outcome is Outcome.CRASHED
    assert f"{code:#x}" in result.message
    assert result.crash
    assert result.crash.report.parameters == (code, PC)
    assert "At drv.sys+0x1234." in result.crash.notes[0]
    assert (result.crash.folder / "crash.json").exists()
    for _ in Deadline.after(5).tries(every=0.01):
        if went_on(kernel):
            break
    assert went_on(kernel)


def test_one_that_the_scenario_declares_passes(made: Callable[..., tuple[Setup, FakeKernel]]) -> None:
    setup, _ = made(exception(BREAKPOINT, PC))
    result = setup.bench.run(scenario(expect_crash=CrashExpectation(exception=BREAKPOINT)))
    assert (result.outcome, result.message) == (Outcome.PASSED, "")


def test_one_in_another_driver_is_no_crash(made: Callable[..., tuple[Setup, FakeKernel]]) -> None:
    setup, _ = made(exception(BREAKPOINT, BASE + 0x100000))
    result = setup.bench.run(scenario(deadline_s=0.5))
    assert result.outcome is Outcome.HUNG


class Person:
    """Looks at the held guest; `saw` is what it was shown, `continued` whether its kernel ran on by then."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.saw: list[list[str]] = []
        self.continued: list[bool] = []
        self._kernel = kernel

    def __call__(self, lines: list[str]) -> None:
        self.saw.append(lines)
        self.continued.append(went_on(self._kernel))


def test_with_hold_the_kernel_stays_halted_until_the_person_has_seen_enough(
    made: Callable[..., tuple[Setup, FakeKernel]],
) -> None:
    setup, kernel = made(exception(BREAKPOINT, PC))
    person = Person(kernel)
    setup.bench.hold(Hold(person))
    result = setup.bench.run(scenario())
    assert result.outcome is Outcome.CRASHED
    ((first, *others),) = person.saw
    assert first.startswith("s.one: exception 0x80000003")
    assert any(line.startswith("kernel      halted") for line in others)
    assert others[-1] == "Enter or Ctrl-C ends the guest and the run."
    assert person.continued == [False]
    assert result.crash
    assert any("held for a person" in note for note in result.crash.notes)


def test_a_bugcheck_is_held_too(made: Callable[..., tuple[Setup, FakeKernel]]) -> None:
    setup, kernel = made(printed(FATAL), exception(BREAKPOINT, 0xFFFFF80100000100))
    kernel.bugchecked(0xD1, 0x10, 2, 1, PC)
    kernel.rcx.append(3)
    person = Person(kernel)
    setup.bench.hold(Hold(person))
    result = setup.bench.run(scenario())
    assert result.outcome is Outcome.CRASHED
    assert "bugcheck 0x000000d1" in person.saw[0][0]
    assert person.continued == [False]


def test_hold_does_not_keep_an_expected_crash(made: Callable[..., tuple[Setup, FakeKernel]]) -> None:
    setup, kernel = made(exception(BREAKPOINT, PC))
    person = Person(kernel)
    setup.bench.hold(Hold(person))
    result = setup.bench.run(scenario(expect_crash=CrashExpectation(exception=BREAKPOINT)))
    assert result.outcome is Outcome.PASSED
    assert person.saw == []


def test_the_terminal_is_asked_and_its_absence_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ask_terminal(["s.one: crashed", "evidence x"], tmp_path / "absent" / "tty")
    assert "There is no terminal: the guest is not held." in capsys.readouterr().err
    primary, secondary = os.openpty()
    terminal = Path(os.ttyname(secondary))
    asked = threading.Thread(target=ask_terminal, args=(["s.one: crashed"], terminal), daemon=True)
    asked.start()
    shown = b""
    while b"s.one: crashed" not in shown:
        shown += os.read(primary, 1024)
    asked.join(0.1)
    assert asked.is_alive(), "it waits"
    os.write(primary, b"\n")
    asked.join(5.0)
    assert not asked.is_alive()
    os.close(primary)
    os.close(secondary)

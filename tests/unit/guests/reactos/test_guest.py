"""A ReactOS guest that starts: a kernel that stops meanwhile is noticed, and started again."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import BootCrashError, BootError
from harness.guests.reactos.guest import BOOTS, ReactosGuest
from harness.guests.reactos.image.sealed import ReactosImage
from harness.guests.reactos.spec.domain import AGENT_SOCKET
from harness.guests.reactos.spec.profile import ReactosProfile
from harness.project.profiles import find_profile
from tests.fakes.kd_machine import FakeKernel, exception, printed
from tests.fakes.kd_port import KernelMachine

WINLOGON_DIED = 0xC000021A
BREAKPOINT = 0x80000003
REPORTS = 3
"""The argument of the kernel's breakpoint routine when it halts to report a bugcheck."""


class DyingKernel(FakeKernel):
    """Stops with a bugcheck as soon as its debugger, which is there from now on, has let it go on."""

    def break_in(self) -> None:
        super().break_in()
        self.bugchecked(WINLOGON_DIED, 1, 2, 3, 4)
        self.rcx.extend([1, REPORTS])
        values = ",".join(f"0x{value:016x}" for value in (1, 2, 3, 4))
        text = f"\n*** Fatal System Error: 0x{WINLOGON_DIED:08x}\n ({values})\n\n"
        self.script.extend([printed(text), exception(BREAKPOINT)])


class DyingMachine(KernelMachine):
    """Its system stops with a bugcheck in its first `deaths` starts; in the others nothing answers."""

    deaths = 0
    _line: socket.socket | None = None

    def _hang_up(self) -> None:
        super()._hang_up()
        if self._line:
            self._line.close()

    def _listen(self) -> None:
        super()._listen()
        line = self.folder / AGENT_SOCKET
        line.unlink(missing_ok=True)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.bind(str(line))
        self._line.listen(1)

    def _new_kernel(self) -> FakeKernel:
        return DyingKernel() if len(self.kernels) < self.deaths else FakeKernel()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[DyingMachine]:
    made = DyingMachine(tmp_path / "guest")
    yield made
    made.destroy()


@pytest.fixture
def guest(tmp_path: Path) -> ReactosGuest:
    profile = find_profile("reactos-x64")
    assert isinstance(profile, ReactosProfile)
    return ReactosGuest(ReactosImage(tmp_path, "0" * 64, 4, "f" * 64), profile)


def test_a_system_that_dies_in_each_start_is_reported_with_its_bugcheck(
    guest: ReactosGuest, machine: DyingMachine
) -> None:
    machine.deaths = BOOTS
    machine.start(Deadline.after(5))
    with pytest.raises(BootCrashError, match="0xc000021a") as raised:
        guest.wait_ready(machine, Deadline.after(60))
    assert f"each of {BOOTS} starts" in raised.value.remedy
    assert machine.calls == ["start", *["revert"] * (BOOTS - 1)]


def test_a_system_that_died_once_is_started_again(guest: ReactosGuest, machine: DyingMachine) -> None:
    machine.deaths = 1
    machine.start(Deadline.after(5))
    with pytest.raises(BootError, match="did not become ready") as raised:  # nothing answers on its line
        guest.wait_ready(machine, Deadline.after(10))
    assert not isinstance(raised.value, BootCrashError)
    assert machine.calls == ["start", "revert"]

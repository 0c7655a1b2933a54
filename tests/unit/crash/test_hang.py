"""Probes of a hung guest: one that ignores everything, one that answers, one without a Windows kernel."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from harness.crash.hang import Gave, HangReport, probe_hang
from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError
from harness.interfaces import DebugStream, Halt, KernelDebugger
from harness.machine.protocol import MachineState
from harness.outcome import KernelCrash
from harness.project.profile import Hang
from harness.project.profiles import find_profile
from tests.fakes.debug import FakeDebugStream
from tests.fakes.machine import FakeMachine

QUICK = Hang(break_in=0.1, nmi=0.1, screenshot=5)
STALL = KernelCrash("hang", 0, (), time=0.0, text="The guest did not run s.stuck within 3 s.")


class Debugger(FakeDebugStream):
    """A kernel debugger; without `halt` its kernel ignores it."""

    halt: Halt | None = None

    def break_in(self, deadline: Deadline) -> Halt:
        if self.halt is None:
            raise DeadlineError(f"The kernel did not halt within {deadline.seconds:g} s.")
        return self.halt


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    machine = FakeMachine(tmp_path / "guest")
    machine.start(Deadline.after(5))
    return machine


def probed(machine: FakeMachine, debug: DebugStream, folder: Path, limits: Hang = QUICK) -> HangReport:
    return probe_hang(STALL, "s.stuck", folder, machine=machine, debug=debug, limits=limits)


def gave(report: HangReport) -> Mapping[str, Gave]:
    return {probe.name: probe.gave for probe in report.probes}


def test_a_guest_that_ignores_everything_is_killed(machine: FakeMachine, tmp_path: Path) -> None:
    report = probed(machine, Debugger(), tmp_path)
    assert list(gave(report).items()) == [
        ("break-in", Gave.NOTHING),
        ("nmi", Gave.NOTHING),
        ("screenshot", Gave.ANSWER),
        ("kill", Gave.ANSWER),
    ]
    assert machine.calls[-3:] == ["inject_nmi", "screenshot", "stop"]
    assert machine.state() is MachineState.STOPPED
    assert report.bugcheck is None
    assert "did not halt within 0.1 s" in report.notes[0]
    document = json.loads((tmp_path / "hang.json").read_text())
    assert document["stall"] == STALL.text
    assert [rung["name"] for rung in document["rungs"]] == list(gave(report))
    assert (tmp_path / "screenshot.png").is_file()


def test_registers_of_every_processor_are_kept_and_the_nmi_brings_a_bugcheck(
    machine: FakeMachine, tmp_path: Path
) -> None:
    debug = Debugger()
    debug.halt = Halt(2, {0: {"rip": 0x1000}, 1: {"rip": 0x2000}}, {0: "drv.sys+0x10", 1: "0x2000"})
    machine.on_nmi = lambda: threading.Timer(0.02, debug.break_down, ["bugcheck", 0x80, 1, 2, 3, 4]).start()
    report = probed(machine, debug, tmp_path, Hang(break_in=5, nmi=5, screenshot=5))
    assert gave(report) == {
        "break-in": Gave.ANSWER, "nmi": Gave.ANSWER, "screenshot": Gave.ANSWER, "kill": Gave.SKIPPED
    }  # fmt: skip
    assert machine.state() is MachineState.RUNNING, "it may be writing its dump"
    assert report.bugcheck
    assert (report.bugcheck.code, report.bugcheck.parameters) == (0x80, (1, 2, 3, 4))
    assert "registers of 2 of 2 processors: 0 at drv.sys+0x10, 1 at 0x2000" in report.notes[0]
    assert "bugcheck 0x00000080" in report.notes[1]
    document = json.loads((tmp_path / "hang.json").read_text())
    assert document["processors"]["1"] == {"at": "0x2000", "registers": {"rip": "0x2000"}}
    assert document["bugcheck"] == "bugcheck 0x00000080 (0x1, 0x2, 0x3, 0x4)"


def test_a_guest_without_kernel_debugger_skips_by_name(machine: FakeMachine, tmp_path: Path) -> None:
    debug = FakeDebugStream()
    assert not isinstance(debug, KernelDebugger)
    report = probed(machine, debug, tmp_path, find_profile("wine").hang)
    assert gave(report)["break-in"] is gave(report)["nmi"] is Gave.SKIPPED
    assert "no kernel debugger" in report.notes[0]
    assert "turns this probe off for this guest" in report.notes[1]
    assert "inject_nmi" not in machine.calls


def test_a_guest_that_goes_down_meanwhile_is_left_to_its_dump(machine: FakeMachine, tmp_path: Path) -> None:
    debug = Debugger()
    debug.break_down("bugcheck", 0x133, 0, 0, 0, 0)
    report = probed(machine, debug, tmp_path)
    assert gave(report) == {
        "break-in": Gave.SKIPPED, "nmi": Gave.SKIPPED, "screenshot": Gave.ANSWER, "kill": Gave.SKIPPED
    }  # fmt: skip
    assert report.bugcheck
    assert report.bugcheck.code == 0x133


def test_a_panic_that_only_the_machine_reports_counts(machine: FakeMachine, tmp_path: Path) -> None:
    machine.on_nmi = machine.panic
    report = probed(machine, FakeDebugStream(), tmp_path)
    assert gave(report)["nmi"] is Gave.ANSWER
    assert gave(report)["kill"] is Gave.SKIPPED


def test_a_rung_that_fails_costs_only_itself(machine: FakeMachine, tmp_path: Path) -> None:
    machine.fail_next = MachineError("QEMU refuses.")
    report = probed(machine, Debugger(), tmp_path)
    assert gave(report)["nmi"] is Gave.NOTHING
    assert "QEMU refuses." in report.notes[1]
    assert gave(report)["screenshot"] is Gave.ANSWER

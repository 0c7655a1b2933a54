"""Probes a guest that hangs before it is killed: in this order, each probe with its own deadline.

    break-in     the kernel debugger halts the kernel and reads every processor's registers
    nmi          a non-maskable interrupt, which Windows answers with bugcheck 0x80 and a dump
    screenshot   a picture of the guest's screen
    kill         power off, unless the guest went down by itself and may be writing its dump

The screenshot and hang.json, with the result of each probe, go into the crash's folder. When a probe fails,
the others still run.
"""

from __future__ import annotations

import dataclasses
import enum
import time
from collections.abc import Callable
from pathlib import Path

from harness.crash.expectation import describe
from harness.deadline import Deadline
from harness.errors import WinvmError
from harness.interfaces import DebugStream, Halt, KernelDebugger
from harness.machine.protocol import Machine, MachineState
from harness.outcome import KernelCrash
from harness.project.profile import Hang
from harness.results import write_json

SCHEMA = 1
SCREENSHOT = "screenshot.png"
RECORD = "hang.json"
KILL_S = 0.1
"""Longest time for a hung guest to shut down on request."""
_POLL_S = 0.02


class Gave(enum.StrEnum):
    """Outcome of a probe."""

    ANSWER = "answer"  # the guest reacted as intended
    NOTHING = "nothing"  # no reaction before the deadline, or the host could not send the request
    SKIPPED = "skipped"  # the probe is of no use on this guest, or in its present state


@dataclasses.dataclass(frozen=True)
class Probe:
    """Result of one probe; `detail` describes it in words, `seconds` is how long the probe took."""

    name: str
    gave: Gave
    detail: str
    seconds: float

    @property
    def note(self) -> str:
        """One line for a result."""
        return f"hang: {self.name}: {self.gave}: {self.detail}"


@dataclasses.dataclass(frozen=True)
class HangReport:
    """Results of the probes. `bugcheck` took the guest down in the end, by itself or after the NMI."""

    probes: tuple[Probe, ...]
    halt: Halt | None
    bugcheck: KernelCrash | None

    @property
    def notes(self) -> tuple[str, ...]:
        """One line for each probe."""
        return tuple(probe.note for probe in self.probes)


class Skipped(Exception):  # noqa: N818 - not an error: the probe does not apply to this guest
    """The probe does not apply; the message says why."""


def probe_hang(
    stall: KernelCrash, scenario: str, folder: Path, *, machine: Machine, debug: DebugStream, limits: Hang
) -> HangReport:
    """Runs every probe, and writes hang.json.

    Args:
        stall: the hang as the host detected it.
        scenario: the scenario that hung.
        folder: the crash's folder.
        debug: halts the kernel if it is a `KernelDebugger`.

    Raises:
        OSError: hang.json cannot be written.
    """
    probing = _Probing(machine, debug, limits, folder)
    probing.step("break-in", probing.break_in)
    probing.step("nmi", probing.nmi)
    probing.step("screenshot", probing.screenshot)
    probing.step("kill", probing.kill)
    report = HangReport(tuple(probing.probes), probing.halt, debug.crash())
    write_json(folder / RECORD, _document(stall, scenario, report))
    return report


class _Probing:
    def __init__(self, machine: Machine, debug: DebugStream, limits: Hang, folder: Path) -> None:
        self._machine = machine
        self._debug = debug
        self._limits = limits
        self._folder = folder
        self.probes: list[Probe] = []
        self.halt: Halt | None = None

    def step(self, name: str, probe: Callable[[], str]) -> None:
        """Runs one probe; `probe` returns its result in words, or raises."""
        started = time.monotonic()
        try:
            gave, detail = Gave.ANSWER, probe()
        except Skipped as skipped:
            gave, detail = Gave.SKIPPED, str(skipped)
        except (WinvmError, OSError) as error:
            gave, detail = Gave.NOTHING, str(error)
        self.probes.append(Probe(name, gave, detail, round(time.monotonic() - started, 3)))

    def break_in(self) -> str:
        """Halts the kernel, reads every processor, and resumes the kernel."""
        if not isinstance(self._debug, KernelDebugger):
            raise Skipped("this guest has no kernel debugger.")
        deadline = self._deadline(self._limits.break_in)
        self.halt = self._debug.break_in(deadline)
        places = ", ".join(f"{number} at {place}" for number, place in self.halt.places.items())
        return f"registers of {len(self.halt.registers)} of {self.halt.processors} processors: {places}."

    def nmi(self) -> str:
        """Sends the interrupt, and waits until the guest goes down."""
        deadline = self._deadline(self._limits.nmi)
        self._machine.inject_nmi(deadline)
        if not any(self._is_down() for _ in deadline.tries(every=_POLL_S)):
            deadline.check("The guest's answer to a non-maskable interrupt")
        crash = self._debug.crash()
        return f"{describe(crash)}." if crash else "the machine reports a panic."

    def screenshot(self) -> str:
        """Saves a picture of the screen."""
        self._machine.screenshot(self._folder / SCREENSHOT, Deadline.after(self._limits.screenshot))
        return SCREENSHOT

    def kill(self) -> str:
        """Powers the machine off; the run's next scenario restores it."""
        if self._is_down():
            raise Skipped("the guest went down by itself and may be writing its dump.")
        self._machine.stop(Deadline.after(KILL_S))
        return "powered off."

    def _deadline(self, seconds: float) -> Deadline:
        if self._is_down():
            raise Skipped("the guest has gone down by itself.")
        if not seconds:
            raise Skipped("the profile turns this probe off for this guest.")
        return Deadline.after(seconds)

    def _is_down(self) -> bool:
        return self._debug.crash() is not None or self._machine.state() is MachineState.CRASHED


def _document(stall: KernelCrash, scenario: str, report: HangReport) -> dict[str, object]:
    """hang.json; addresses and registers are hex strings."""
    halt = report.halt
    processors = {} if halt is None else {
        str(number): {
            "at": halt.places.get(number, ""),
            "registers": {name: f"{value:#x}" for name, value in registers.items()},
            **({"stack": list(halt.stacks[number])} if number in halt.stacks else {}),
        }
        for number, registers in halt.registers.items()
    }  # fmt: skip
    return {
        "schema": SCHEMA,
        "stall": stall.text,
        "scenario": scenario,
        "rungs": [dataclasses.asdict(probe) for probe in report.probes],
        "processors": processors,
        "bugcheck": describe(report.bugcheck) if report.bugcheck else "",
    }

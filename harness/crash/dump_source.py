"""Sources of a crash's dump: a minidump that Wine writes, or the dump ladder for a Windows kernel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.crash import dump_ladder as ladder
from harness.crash.dump_rung_registry import RUNGS, Crashed, RegisteredRung, Turn
from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError, TransportError, WinvmError
from harness.interfaces import FileTransfer
from harness.machine.protocol import Machine, MachineState
from harness.outcome import KernelCrash

MINIDUMP = "minidump.dmp"
MINIDUMP_LIMIT = 256 << 20  # bytes
MINIDUMP_SECONDS = 60.0
"""Three times what `vm/wine/crashdump.c` takes at most before it gives up."""
LOOK_EVERY_S = 0.2
MDMP_SIGNATURE = b"MDMP"


@dataclass(frozen=True)
class Collected:
    """The dump: `file` in the crash's folder, empty if there is none; `notes` hold the reason or the rung."""

    file: str
    notes: tuple[str, ...] = ()


class DumpSource(Protocol):
    """Collects the dump of one crash."""

    @property
    def seconds(self) -> float:
        """The longest time that `collect` may take."""

    def collect(self, folder: Path, machine: Machine, files: FileTransfer, deadline: Deadline) -> Collected:
        """Copies the dump into the crash's folder. A failure becomes a note.

        Args:
            files: a connection to the guest that was opened before the crash.
        """


@dataclass(frozen=True)
class GuestMinidump:
    """A `DumpSource`: a minidump that the guest writes, copied from it.

    Attributes:
        absent: why there is none; empty if there should be one.
        writer: what is known of the program that writes it, asked when none came in time.
    """

    guest_path: str
    absent: str = ""
    writer: Callable[[FileTransfer], str] | None = None

    seconds = MINIDUMP_SECONDS

    def collect(self, folder: Path, machine: Machine, files: FileTransfer, deadline: Deadline) -> Collected:  # noqa: ARG002
        """See `DumpSource`."""
        if self.absent:
            return Collected("", (f"{MINIDUMP} is missing: {self.absent}",))
        try:
            self._pull(files, folder / MINIDUMP, deadline)
        except (WinvmError, OSError) as error:
            late = isinstance(error, DeadlineError) and self.writer is not None
            known = f" {self.writer(files)}" if late and self.writer else ""
            return Collected("", (f"{MINIDUMP} is missing: {error}{known}",))
        return Collected(MINIDUMP)

    def _pull(self, files: FileTransfer, target: Path, deadline: Deadline) -> None:
        """Waits for the dump, then copies it. The guest gives it its name when it is complete."""
        for _ in deadline.tries(every=LOOK_EVERY_S):
            try:
                if files.size(self.guest_path, deadline):
                    break
            except DeadlineError:
                continue  # said below, in terms of the dump
        else:
            raise DeadlineError(f"The guest wrote no minidump within {deadline.seconds:g} s.")
        files.pull(self.guest_path, target, deadline, MINIDUMP_LIMIT)
        with target.open("rb") as dump:
            if dump.read(4) != MDMP_SIGNATURE:
                raise TransportError(f"{self.guest_path} in the guest is not a minidump.")


@dataclass(frozen=True)
class KernelDump:
    """A `DumpSource`: the ladder of `harness.crash.dump_ladder`.

    Attributes:
        guest_path: where Windows writes its dump; empty if Windows does not restart by itself to do so.
        connect: opens a new connection to the guest once it has restarted.
        waits: whether Windows waits for its debugger instead of restarting.
        rungs: the rungs that are tried.
    """

    crash: KernelCrash
    guest_path: str
    connect: Callable[[Machine], FileTransfer]
    waits: Callable[[], bool]

    rungs: Sequence[RegisteredRung] = RUNGS

    @property
    def seconds(self) -> float:
        """See `DumpSource`."""
        return sum(rung.seconds for rung in self.rungs)

    def collect(self, folder: Path, machine: Machine, files: FileTransfer, deadline: Deadline) -> Collected:  # noqa: ARG002
        """See `DumpSource`."""

        def connect() -> FileTransfer:
            if self.waits():
                raise MachineError(
                    "Windows wrote its dump, but waits for its debugger instead of restarting."
                )
            if machine.state() is MachineState.STOPPED:
                raise MachineError("The machine is off.")
            return self.connect(machine)

        crashed = Crashed(self.crash, machine, self.guest_path, connect)
        made = [(rung.turn, rung.make(crashed)) for rung in self.rungs]
        before, reserve, after = ([rung for turn, rung in made if turn is wanted and rung] for wanted in Turn)
        climb = ladder.climb(self.crash, folder, before, reserve, after, deadline)
        if climb.file is None:
            return Collected("", (f"{ladder.NAME} is missing.", *climb.notes))
        return Collected(climb.file.name, (f"{ladder.NAME} is from the {climb.rung}.", *climb.notes))

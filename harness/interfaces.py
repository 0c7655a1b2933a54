"""Interfaces of the bench as Protocols. Each has one implementation per guest flavour and one shipped fake.

Imports go one way: config -> image -> machine -> transport -> deploy -> session -> capture -> report.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from harness.deadline import Deadline
from harness.outcome import DebugRecord, KernelCrash


@dataclass(frozen=True)
class CommandResult:
    """Exit code and captured output of a finished guest command."""

    exit_code: int
    stdout: bytes
    stderr: bytes


OnOutput = Callable[[str, bytes], None]
"""Called with `stdout` or `stderr` and the bytes as they arrive."""


class GuestProcess(Protocol):
    """A running guest command with its standard streams."""

    def send(self, data: bytes, *, end: bool = False) -> None:
        """Writes to the command's stdin; `end` closes it."""

    def receive(self, deadline: Deadline) -> Iterator[tuple[str, bytes]]:
        """Yields (`stdout` or `stderr`, bytes) until the command ends or the deadline passes."""

    @property
    def exit_code(self) -> int | None:
        """Exit code, once `receive` has returned the end of the output."""

    def terminate(self) -> None:
        """Ends the command and frees it on the guest; never raises for one that has ended."""


class Transport(Protocol):
    """Commands in the guest. Raises `TransportError`, `AuthenticationError`, `DeadlineError`."""

    def run(
        self, argv: Sequence[str], deadline: Deadline, on_output: OnOutput | None = None
    ) -> CommandResult:
        """Runs a program to its end."""

    def start(self, argv: Sequence[str], deadline: Deadline) -> GuestProcess:
        """Starts a program with open stdin."""

    def close(self) -> None:
        """Drops the connection; never raises."""


class FileTransfer(Protocol):
    """File transfer. Guest paths are Windows paths (`C:\\dir\\name`). Raises `TransportError`."""

    def push(self, local: Path, guest_path: str, deadline: Deadline) -> int:
        """Copies one file in, creating folders; returns bytes sent."""

    def pull(self, guest_path: str, local: Path, deadline: Deadline, limit: int) -> int:
        """Copies one file out, refusing more than `limit` bytes; returns bytes received."""

    def size(self, guest_path: str, deadline: Deadline) -> int | None:
        """Size in bytes, or None when there is no such file."""

    def close(self) -> None:
        """Drops the connection; never raises."""


class DebugStream(Protocol):
    """Live debug output of the guest's kernel, read on the host from outside the guest.

    It recognises the markers that the agent prints around each scenario, and splits the output at them.
    """

    def records(self) -> Sequence[DebugRecord]:
        """All records not returned before, oldest first; does not block."""

    def crash(self) -> KernelCrash | None:
        """The first crash seen since `rearm`, if any; its `hint` has what the guest's log says about it."""

    def wait_for_end_marker(self, scenario_id: int, deadline: Deadline) -> bool:
        """Waits until a scenario's output is complete; False when the deadline passed first."""

    def slice(self, scenario_id: int, *, late: bool = False) -> tuple[DebugRecord, ...]:
        """The output between the markers of one run of a scenario, up to now if it has not ended.

        Args:
            late: include the output after the end marker, up to now.
        """

    def tail(self) -> tuple[DebugRecord, ...]:
        """The newest records: the output before a crash."""

    def rearm(self) -> None:
        """Forgets the crash after the guest was reverted, and continues reading from the new end."""

    def close(self) -> None:
        """Stops reading; never raises."""


@dataclass(frozen=True)
class Halt:
    """A kernel that its debugger halted, all processors at once.

    processors: their number. registers: by processor number, values by lower-case name. places: where each
    processor executes, `module+0xoffset` or a bare address. stacks: the frames of each in the same form,
    innermost first; a question mark follows a frame that a scan of the stack found.
    """

    processors: int
    registers: Mapping[int, Mapping[str, int]]
    places: Mapping[int, str]
    stacks: Mapping[int, tuple[str, ...]] = field(default_factory=dict)


@runtime_checkable
class ToldByLog(Protocol):
    """Additional methods of a `DebugStream` that knows of a crash by the text of a log alone, as Wine's does.

    Whoever can print into that log can print what looks like a crash, so another witness must confirm it.
    """

    def dismiss(self, why: str) -> None:
        """Forgets the crash, with a record that says why; a later report counts again."""

    def loaded_again(self) -> bool:
        """Whether an image that was loaded before the crash was loaded once more after it.

        Then a service that runs says nothing of the one before: a scenario may have started it again.
        """


@dataclass(frozen=True)
class EntryStatus:
    """What a DriverEntry returned: an NTSTATUS.

    limit: why this guest refuses a driver that returned it and Windows does not; empty if Windows does too.
    """

    status: int
    limit: str = ""


@runtime_checkable
class ReadsLog(Protocol):
    """Additional methods of a `DebugStream` whose guest logs more than drivers print, as Wine does.

    Without them nothing more is known than Windows tells. What the log says about a crash is in the crash's
    `hint`.
    """

    def entry_status(self, records: Iterable[DebugRecord]) -> EntryStatus | None:
        """What DriverEntry returned, if these records say so; a driver cannot print such a record."""

    def is_noise(self, text: str) -> bool:
        """Whether a line is about the guest itself and would only hide the driver's own output."""


@runtime_checkable
class SeesExceptions(Protocol):
    """Additional method of a `DebugStream` whose guest logs exceptions that a handler caught."""

    def caught(self, records: Iterable[DebugRecord]) -> str:
        """What these records say of exceptions in the driver that did not end it; empty for none."""


@dataclass(frozen=True)
class KeptBlocks:
    """Blocks of pool that a driver allocated in a scenario at one place, and still had at its end.

    Attributes:
        tag: their pool tag.
        stack: addresses in the driver, innermost first.
    """

    count: int
    bytes: int
    tag: str
    stack: tuple[int, ...]


@runtime_checkable
class SeesPool(Protocol):
    """Additional methods of a `DebugStream` that a driver's guard prints to."""

    def kept_blocks(self, records: Iterable[DebugRecord]) -> tuple[KeptBlocks, ...]:
        """What these records of one scenario say of blocks that the driver kept."""

    def images(self) -> tuple[str, ...]:
        """The driver images loaded so far with their base addresses, as in a crash's notes."""


@runtime_checkable
class WatchesDriver(Protocol):
    """Additional method of a `DebugStream` to which a kernel reports breakpoints instead of stopping."""

    def watch(self, images: Collection[str]) -> None:
        """From now on, a breakpoint or failed assertion in an image of one of these names is a crash."""


@runtime_checkable
class HoldsKernel(Protocol):
    """Additional methods of a `DebugStream` that can leave a crashed kernel halted for a person."""

    def hold_crashes(self) -> None:
        """From now on a crash leaves the kernel halted."""

    @property
    def held(self) -> bool:
        """Whether the kernel stands halted."""

    def release(self) -> None:
        """Lets a halted kernel go on."""

    def lend(self) -> None:
        """Closes the connection, so that another debugger can have the halted kernel."""


@runtime_checkable
class KernelDebugger(Protocol):
    """Additional method of a `DebugStream` that debugs a real kernel; a Wine guest's stream lacks it."""

    def break_in(self, deadline: Deadline) -> Halt:
        """Halts the kernel, reads every processor, and resumes the kernel.

        Raises:
            DeadlineError: the kernel did not halt in time; the request is withdrawn.
            KdError: there is no connection to the kernel.
        """

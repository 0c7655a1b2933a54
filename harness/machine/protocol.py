"""The interface of a virtual machine that the rest of the bench uses.

Channel files. QEMU writes four serial ports and the debug channel to host files. Every start and every
revert begins a new *generation*: QEMU gets new files named `<channel>-<generation>.log`, and the stable names
in `Channels` are symbolic links that are moved to them before the new QEMU opens them. A reader that tails a
stable name therefore works like `tail -F`: it reads the file it has open to its end (the QEMU that wrote it
is gone by then, so nothing is added later), sees that the name now leads to another inode, opens that at
offset 0 and goes on. No byte is lost and no byte of one generation is mixed into another.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.deadline import Deadline


class MachineState(enum.StrEnum):
    """State of the domain as libvirt reports it; `CRASHED` is QEMU's own panic report, never set on Wine."""

    RUNNING = "running"
    PAUSED = "paused"
    CRASHED = "crashed"
    STOPPED = "stopped"


class MemoryDump(enum.StrEnum):
    """The format of a dump of the guest's memory (those of QEMU's dump-guest-memory).

    `WINDOWS` is a complete kernel dump; QEMU makes it only if the guest runs virtio-win's fwcfg driver, which
    tells QEMU where the kernel keeps the header's data. `ELF` is a core file of any guest.
    """

    WINDOWS = "win-dmp"
    ELF = "elf"


@dataclass(frozen=True)
class LifecycleEvent:
    """A change libvirt reported: `time` is host UNIX time, `reason` libvirt's own word for the detail."""

    time: float
    state: MachineState
    reason: str


@dataclass(frozen=True)
class Panic:
    """The guest's kernel reported a crash to the machine's panic device, at host UNIX `time`.

    code, parameters: of the bugcheck, if the device is Hyper-V's crash registers; pvpanic reports neither.
    """

    time: float
    code: int | None = None
    parameters: tuple[int, ...] = ()


OnPanic = Callable[[Panic], None]
"""Called on one of the machine's threads; must not block."""


@dataclass(frozen=True)
class Channels:
    """Stable host paths (symbolic links, see the module) of the guest's output.

    console: COM1, the boot and login console. journal: the agent's write-ahead journal, from COM2 or a virtio
    port of its own.
    dbgprint: the virtio-serial port `org.winvm.dbgprint`. com3, com4: spare serial ports.
    """

    console: Path
    journal: Path
    dbgprint: Path
    com3: Path
    com4: Path

    @property
    def clock(self) -> Path:
        """The clock port, an input of the guest unlike the others (see `harness.machine.clock`)."""
        return self.console.with_name("clock")

    @classmethod
    def inside(cls, folder: Path) -> Channels:
        """The channels of the machine that lives in `folder`."""
        return cls(*(folder / f"{name}.log" for name in ("console", "journal", "dbgprint", "com3", "com4")))


class Machine(Protocol):
    """One virtual machine of one run.

    Every operation raises `MachineError` with QEMU's log tail when libvirt or QEMU refuse, and
    `DeadlineError` when the deadline passes first. After either the machine can still be destroyed.
    """

    @property
    def name(self) -> str:
        """Name of the machine, unique in its run."""

    @property
    def folder(self) -> Path:
        """Folder of the machine's overlay and channel files; gone after `destroy`."""

    @property
    def address(self) -> str:
        """Host address the forwarded ports listen on."""

    @property
    def ports(self) -> Mapping[str, int]:
        """Host port of each forward of the profile (`winrm`, `ssh`); kept by `revert` unless it was taken."""

    @property
    def disk(self) -> Path:
        """The machine's own disk, a qcow2 overlay; nobody else may open it unless the machine is stopped."""

    @property
    def channels(self) -> Channels:
        """Where the guest's serial ports and debug channel end on the host."""

    @property
    def generation(self) -> int:
        """0 before the first start; each start and each revert adds 1."""

    def start(self, deadline: Deadline) -> None:
        """Restores the ready state onto a fresh overlay, or boots where there is no ready state.

        A restored guest runs at once. A booted one is only powered on: the caller must wait for it.
        """

    def revert(self, deadline: Deadline) -> None:
        """Discards the guest, however broken, and returns to the state of `start`, with a new generation."""

    def checkpoint(self, deadline: Deadline) -> None:
        """Saves the guest's current state and restores it: from now on `revert` returns to this state.

        Can be called once. A new generation begins, and connections to the guest are lost. A request that was
        waiting in the guest still consumes the data that it waits for, and its answer is lost.
        """

    def suspend(self, deadline: Deadline) -> None:
        """Stops the virtual CPUs (5 ms); an idle guest otherwise uses 10 to 26% of a core."""

    def resume(self, deadline: Deadline) -> None:
        """Resumes a suspended guest."""

    def inject_nmi(self, deadline: Deadline) -> None:
        """Sends every virtual CPU a non-maskable interrupt; Windows answers with bugcheck 0x80."""

    def dump_memory(self, file: Path, form: MemoryDump, deadline: Deadline) -> None:
        """Writes the guest's whole memory to `file`; the guest is paused meanwhile."""

    def press_key(self, key: int, deadline: Deadline) -> None:
        """Presses a key of the keyboard and lets it go; `key` is a code of linux/input-event-codes.h."""

    def screenshot(self, file: Path, deadline: Deadline) -> Path:
        """Writes a PNG of the first screen to `file` and returns it."""

    def state(self) -> MachineState:
        """The state that libvirt reports now; `STOPPED` also when the domain does not exist.

        A guest that panicked and still runs is `RUNNING`: libvirt reports it as crashed, so QEMU is asked.
        """

    def trouble(self) -> str:
        """Why the host stopped the machine, in a sentence: its disk is full, a signal ended or stopped QEMU.

        Empty while it runs, when it was suspended or ended here, and when the guest ended it.
        """

    def qemu_log(self) -> str:
        """The end of QEMU's own log, without its command line; empty if it cannot be had."""

    def events(self) -> Sequence[LifecycleEvent]:
        """Lifecycle events not returned before, oldest first; does not block.

        Includes what the caller caused itself (a revert reports `stopped`, then `running`).
        """

    def on_panic(self, listener: OnPanic) -> None:
        """Calls `listener` at every panic from now on; replaces the previous listener."""

    def stop(self, deadline: Deadline) -> None:
        """Asks the guest to shut down (ACPI); powers it off at the deadline. Keeps the machine's files."""

    def destroy(self) -> None:
        """Powers off and removes the machine's files; safe to repeat, never raises for one that is gone."""

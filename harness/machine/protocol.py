"""The narrow boundary that the rest of the bench sees of a virtual machine.

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
    """What libvirt says about the domain; `CRASHED` is QEMU's own panic report, never set on Wine."""

    RUNNING = "running"
    PAUSED = "paused"
    CRASHED = "crashed"
    STOPPED = "stopped"


class MemoryDump(enum.StrEnum):
    """What a dump of the guest's memory is written as (QEMU's dump-guest-memory formats).

    `WINDOWS` is a complete kernel dump; QEMU makes it only if the guest runs virtio-win's fwcfg driver, which
    tells it where the kernel keeps the header's data. `ELF` is a core file of any guest.
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
    """The guest's kernel told the machine's panic device that it goes down, at host UNIX `time`.

    code, parameters: of the bugcheck, where the device is Hyper-V's crash registers; pvpanic tells neither.
    """

    time: float
    code: int | None = None
    parameters: tuple[int, ...] = ()


OnPanic = Callable[[Panic], None]
"""Called on a thread of the machine's; must not block."""


@dataclass(frozen=True)
class Channels:
    """Stable host paths (symbolic links, see the module) of what the guest writes outwards.

    console: COM1, the boot and login console. journal: COM2, the agent's write-ahead journal.
    dbgprint: the virtio-serial port `org.winvm.dbgprint`. com3, com4: spare serial ports.
    """

    console: Path
    journal: Path
    dbgprint: Path
    com3: Path
    com4: Path

    @property
    def clock(self) -> Path:
        """Inwards, unlike the others: the clock port (see `harness.machine.clock`)."""
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

        A restored guest runs at once; a booted one is merely powered on (`BootError` is for whoever waits).
        """

    def revert(self, deadline: Deadline) -> None:
        """Throws the guest away, however broken, and is back at `start`'s state with a new generation."""

    def checkpoint(self, deadline: Deadline) -> None:
        """Saves the guest as it is now and restores it: `revert` is back at this state from now on.

        Once only. A new generation begins; connections to the guest are lost, and a request that was waiting
        in it takes what it waited for with it.
        """

    def suspend(self, deadline: Deadline) -> None:
        """Stops the virtual CPUs (5 ms); an idle guest otherwise uses 10 to 26% of a core."""

    def resume(self, deadline: Deadline) -> None:
        """Lets a suspended guest go on."""

    def inject_nmi(self, deadline: Deadline) -> None:
        """Sends every virtual CPU a non-maskable interrupt; Windows answers with bugcheck 0x80."""

    def dump_memory(self, file: Path, form: MemoryDump, deadline: Deadline) -> None:
        """Writes the guest's whole memory to `file`; the guest stands still meanwhile."""

    def press_key(self, key: int, deadline: Deadline) -> None:
        """Presses a key of the keyboard and lets it go; `key` is a code of linux/input-event-codes.h."""

    def screenshot(self, file: Path, deadline: Deadline) -> Path:
        """Writes a PNG of the first screen to `file` and returns it."""

    def state(self) -> MachineState:
        """What libvirt says now; `STOPPED` also when the domain does not exist.

        A guest that has panicked and was let go on is `RUNNING`: there QEMU is asked, libvirt says crashed.
        """

    def events(self) -> Sequence[LifecycleEvent]:
        """Lifecycle events not returned before, oldest first; does not block.

        Includes what the caller caused itself (a revert reports `stopped`, then `running`).
        """

    def on_panic(self, listener: OnPanic) -> None:
        """Has `listener` called at every panic from now on, in place of the one before."""

    def stop(self, deadline: Deadline) -> None:
        """Asks the guest to shut down (ACPI) and powers it off if it has not by the deadline. Keeps files."""

    def destroy(self) -> None:
        """Powers off and removes the machine's files; safe to repeat, never raises for one that is gone."""

"""Lists the rungs of the Windows dump ladder. A new rung is a function in its own file and a line here."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

from harness.crash import dump_rungs
from harness.crash.dump_ladder import Rung
from harness.interfaces import FileTransfer
from harness.machine.protocol import Machine
from harness.outcome import KernelCrash


@dataclass(frozen=True)
class Crashed:
    """What a rung may use.

    Attributes:
        guest_path: where the guest writes its dump; empty when it writes none.
        connect: opens a new connection to the guest once it has restarted.
    """

    crash: KernelCrash
    machine: Machine
    guest_path: str
    connect: Callable[[], FileTransfer]


class Turn(enum.Enum):
    """When a rung is tried: see `dump_ladder.climb`."""

    BEFORE = "needs the machine as it is"
    RESERVE = "is kept in case the rungs that power the machine off yield nothing"
    AFTER = "powers the machine off"


@dataclass(frozen=True)
class RegisteredRung:
    """One rung. `make` returns None where the rung cannot yield a dump; `seconds` is how long it may take."""

    turn: Turn
    seconds: float
    make: Callable[[Crashed], Rung | None]


RUNGS: tuple[RegisteredRung, ...] = (
    RegisteredRung(
        Turn.BEFORE,
        dump_rungs.GUEST_SECONDS,
        lambda found: dump_rungs.guest_rung(found.connect, found.guest_path) if found.guest_path else None,
    ),
    RegisteredRung(
        Turn.RESERVE, dump_rungs.MEMORY_SECONDS, lambda found: dump_rungs.memory_rung(found.machine)
    ),
    RegisteredRung(
        Turn.AFTER, dump_rungs.DISK_SECONDS, lambda found: dump_rungs.disk_rung(found.machine, found.crash)
    ),
)
"""The most valuable first."""

"""A process that bounds the disk space on the host that a guest left running takes.

`winvm up` starts it for its guest, because no run reads the guest's channel files then. The process checks
the files once a second and ends when the guest's QEMU does.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
from pathlib import Path

from harness.deadline import Deadline
from harness.host import locks, programs
from harness.machine.channels import bound, bound_debug_channel
from harness.machine.processes import qemu_processes
from harness.machine.protocol import Channels

LOCK = "unattended"
LOOK_S = 1.0
_POLL_S = 0.005


def leave(machine: Path) -> None:
    """Starts the process for the machine in this folder; it outlives the caller."""
    with (machine / LOCK).open("wb") as lock:
        locks.take(lock.fileno())
        programs.start(
            [sys.executable, "-m", "harness.machine.unattended", str(machine)],
            own_session=True,
            pass_fds=(lock.fileno(),),  # it inherits the lock, which is free when it has ended
        )


def wait_for_end(machine: Path, deadline: Deadline) -> None:
    """Waits until the process has ended after its QEMU, at most until the deadline."""
    with contextlib.suppress(OSError), (machine / LOCK).open("rb") as lock:
        locks.take_by(lock.fileno(), deadline, every=_POLL_S)


def watch(machine: Path) -> None:
    """Bounds the files until no QEMU of the machine's run is left."""
    with contextlib.ExitStack() as stack:
        living = []
        for process in qemu_processes(machine.parent):
            with contextlib.suppress(ProcessLookupError):
                living.append(os.pidfd_open(process))
                stack.callback(os.close, living[-1])
        channels = Channels.inside(machine)
        # A pidfd becomes readable when its process has ended.
        while living and not select.select(living, [], [], LOOK_S)[0]:
            bound(channels)
            bound_debug_channel(channels)


if __name__ == "__main__":
    watch(Path(sys.argv[1]))

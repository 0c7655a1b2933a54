"""A process that bounds what a guest that is left alone writes on the host's disk.

`winvm up` leaves it beside its guest, for nobody reads the guest's channel files then. It looks at them once
a second and ends when the guest's QEMU does.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import subprocess
import sys
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.machine.channels import bound, bound_debug_channel
from harness.machine.processes import qemu_processes
from harness.machine.protocol import Channels

LOCK = "unattended"
LOOK_S = 1.0
_POLL_S = 0.005


def leave(machine: Path) -> None:
    """Starts the process for the machine in this folder; it outlives the caller."""
    with (machine / LOCK).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        subprocess.Popen(
            [sys.executable, "-m", "harness.machine.unattended", str(machine)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock.fileno(),),  # it inherits the lock, which is free when it has ended
        )


def wait_for_end(machine: Path, deadline: Deadline) -> None:
    """Waits until the process has followed its QEMU, but not beyond the deadline."""
    with contextlib.suppress(OSError), (machine / LOCK).open("rb") as lock:
        while not deadline.expired:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_POLL_S)
            else:
                return


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

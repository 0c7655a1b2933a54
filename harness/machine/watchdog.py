"""A process that ends the QEMUs of a run whose process was killed, so that no guest goes on without an owner.

It holds the reading end of a pipe, whose writing end the run has: the kernel closes that end with the run,
also after SIGKILL. A run that keeps its machines (`kept` in its folder) leaves them alone.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path

from harness.errors import WinvmError
from harness.host import programs
from harness.host.memory_group import MemoryGroup
from harness.machine.processes import end_process, qemu_processes
from harness.machine.qemu_launcher import enter_group

SETTLE_S = 1.0
"""Seconds without a QEMU after which none is expected any more: one may just have been started."""
_END_S = 5.0
_POLL_S = 0.1


class Watchdog:
    """The process for one run folder.

    Args:
        folder: the run's.
        kept: the file whose presence there means that the machines outlive the run.
        group: the run's memory cgroup. The watchdog enters it as the QEMUs do: who kills all processes of the
            run's own cgroup does not reach them.

    Raises:
        MissingProgramError: this Python cannot be run.
    """

    def __init__(self, folder: Path, kept: str, group: MemoryGroup | None = None) -> None:
        members = str(group.members) if group else ""
        end, self._hold = os.pipe()
        with os.fdopen(end, "rb") as pipe:
            try:
                self._process = programs.start(
                    [sys.executable, "-P", "-m", "harness.machine.watchdog", str(folder), kept, members],
                    stdin=pipe,
                    own_session=True,
                )
            except BaseException:
                os.close(self._hold)
                raise

    def close(self) -> None:
        """Ends the watchdog at once, and with it a QEMU that still runs, unless the run is kept."""
        os.close(self._hold)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def watch(folder: Path, kept: str) -> None:
    """Waits for the end of standard input, then ends the run's QEMUs."""
    while os.read(0, 1):
        pass
    until = time.monotonic() + SETTLE_S
    while time.monotonic() < until and folder.exists() and not (folder / kept).exists():
        for pid in qemu_processes(folder):
            with contextlib.suppress(WinvmError):
                end_process(pid, folder)
            until = time.monotonic() + SETTLE_S
        time.sleep(_POLL_S)


if __name__ == "__main__":
    enter_group(sys.argv[3])
    watch(Path(sys.argv[1]), sys.argv[2])

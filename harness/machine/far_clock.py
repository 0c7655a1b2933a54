"""The clock port of a guest on another host: even in a shared folder, a FIFO works within one host only.

QEMU there uses FIFOs with names of their own. A thread here reads each time that is set (see `clock.py`) from
the local FIFO, writes it to QEMU's FIFO over SSH, and writes the guest's answer back.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from pathlib import Path
from typing import Self

from harness.deadline import Deadline
from harness.errors import WinvmError
from harness.machine.clock import ANSWER_S, make_clock_port
from harness.machine.remote.ssh import Session

FAR = "far-clock"
"""QEMU's name for the port, in the machine's folder."""
_LONGEST = 64
# QEMU has both ends open, so neither open waits. An answer to an earlier line may still be in the FIFO. A
# script that waits for a QEMU that has ended is ended by `timeout`: nothing else would end it.
_SET = """
exec timeout -s KILL 20 sh -c '
    exec 3<"$1.out" && printf "%s\\n" "$2" >"$1.in" || exit
    while [ "$answer" != "$2" ]; do read -r answer <&3 || exit; done
' sh "$@"
"""


class FarClock:
    """Serves the port `clock` of the machine in `folder`, from `start` to `close`."""

    def __init__(self, session: Session, folder: Path) -> None:
        self._session = session
        self._near, self._far = folder / "clock", folder / FAR
        self._thread: threading.Thread | None = None
        self._stop, self._stopper = -1, -1

    def start(self) -> Path:
        """Makes the FIFOs of both sides anew; returns the name to give QEMU."""
        self.close()
        for port in (self._near, self._far):
            make_clock_port(port)
        # Opened for reading and writing, a FIFO never reports end of file, and opening it does not wait.
        inward = os.open(f"{self._near}.in", os.O_RDWR | os.O_CLOEXEC)
        outward = os.open(f"{self._near}.out", os.O_RDWR | os.O_CLOEXEC)
        self._stop, self._stopper = os.pipe()
        self._thread = threading.Thread(
            target=self._serve, args=(inward, outward, self._stop), name="far clock", daemon=True
        )
        self._thread.start()
        return self._far

    def close(self) -> None:
        """Stops serving; safe to repeat."""
        if self._thread is None:
            return
        os.close(self._stopper)
        self._thread.join()
        self._thread = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _serve(self, inward: int, outward: int, stop: int) -> None:
        try:
            while stop not in (ready := select.select([inward, stop], [], [])[0]) and ready:
                line = os.read(inward, _LONGEST).splitlines()[-1]
                # The caller that waits for the answer has a deadline, and reports that none came.
                with contextlib.suppress(WinvmError):
                    arguments = (str(self._far), line.decode("ascii", "replace"))
                    if not self._session.run(_SET, *arguments, deadline=Deadline.after(ANSWER_S)).code:
                        os.write(outward, line + b"\n")
        finally:
            for descriptor in (inward, outward, stop):
                os.close(descriptor)

"""The clock port: how the host sets the clock of a Linux guest, which a restore leaves as old as the save.

QEMU joins the guest's virtio port `org.winvm.clock` to two FIFOs of the machine's folder, `clock.in` and
`clock.out` (its `pipe` character device). The host writes a line, the UNIX time in seconds; the guest's
`/etc/winvm/clock` sets the clock by it and writes the line back. All else the guest writes is thrown away.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError

ANSWER_S = 20.0
"""Until the guest has set its clock; 0.1 s on a quiet host."""
_CHUNK = 4096


def make_clock_port(port: Path) -> None:
    """Makes both FIFOs anew. `port` is the name that QEMU is told, which is neither's."""
    for fifo in _ends(port):
        Path(fifo).unlink(missing_ok=True)
        os.mkfifo(fifo, 0o600)


def set_clock(port: Path, deadline: Deadline) -> None:
    """Sets the clock of the guest behind `port` to the host's, and waits until the guest has done it.

    Raises:
        MachineError: there is no QEMU at the other end.
        DeadlineError: the guest does not say that it has set the clock.
    """
    inward, outward = _ends(port)
    limited = deadline.at_most(ANSWER_S)
    with contextlib.ExitStack() as stack:
        try:
            # Without O_NONBLOCK either would wait for QEMU; a writer without a reader is refused with it.
            writer = os.open(inward, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, writer)
            reader = os.open(outward, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, reader)
            line = f"{time.time():.3f}\n".encode("ascii")
            os.write(writer, line)
        except OSError as error:
            raise MachineError(
                f"The clock of the guest at {port} cannot be set: {error.strerror}.",
                remedy="QEMU has ended, or another version made the machine: winvm down, then winvm up.",
            ) from error
        heard = b""
        while line not in heard:
            if not select.select([reader], [], [], limited.remaining())[0]:
                raise DeadlineError(
                    f"The guest did not set its clock within {limited.seconds:g} s.",
                    remedy="See console.log for how it does; build its image again: winvm image build",
                )
            heard = heard[-len(line) :] + os.read(reader, _CHUNK)
            limited.check("Setting the guest's clock")


def _ends(port: Path) -> tuple[str, str]:
    return f"{port}.in", f"{port}.out"

"""The clock port: sets the clock of a Linux guest, which after a restore still has the time of the save.

QEMU joins the guest's virtio port `org.winvm.clock` to two FIFOs of the machine's folder, `clock.in` and
`clock.out` (its `pipe` character device). The host writes a line, the UNIX time in seconds; the guest's
`/etc/winvm/clock` sets the clock by it and writes the line back. Other output of the guest is discarded.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError
from harness.host.fileend import last_text
from harness.machine.protocol import Channels

ANSWER_S = 20.0
"""Time for the guest to set its clock; it takes 0.1 s on an idle host."""
_SHOWN = 4000
"""Bytes of the console that an error shows: the machine's folder is removed after it."""
_CHUNK = 4096


def make_clock_port(port: Path) -> None:
    """Makes both FIFOs anew. `port` is the name that QEMU gets; each FIFO's name adds a suffix to it."""
    for fifo in clock_ends(port):
        fifo.unlink(missing_ok=True)
        os.mkfifo(fifo, 0o600)


def set_clock(port: Path, deadline: Deadline) -> None:
    """Sets the clock of the guest behind `port` to the host's, and waits until the guest has done it.

    Raises:
        MachineError: there is no QEMU at the other end, or it ends meanwhile.
        DeadlineError: the guest does not confirm that it has set the clock.
    """
    inward, outward = clock_ends(port)
    limited = deadline.at_most(ANSWER_S)
    with contextlib.ExitStack() as stack:
        try:
            # With O_NONBLOCK no open waits for QEMU, and opening to write fails if there is no reader.
            writer = os.open(inward, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, writer)
            reader = os.open(outward, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            stack.callback(os.close, reader)
            line = f"{time.time():.3f}\n".encode("ascii")
            os.write(writer, line)
        except OSError as error:
            raise MachineError(
                f"The clock of the guest at {port} cannot be set: {error.strerror}.",
                remedy="QEMU has ended, or another winvm started the machine: winvm down, then winvm up.",
            ) from error
        heard = b""
        while line not in heard:
            if not select.select([reader], [], [], limited.remaining())[0]:
                raise DeadlineError(
                    f"The guest did not set its clock within {limited.seconds:g} s.",
                    remedy="Read its console below, or build its image again: `winvm image build NAME`.",
                    detail=last_text(Channels.inside(port.parent).console, _SHOWN),
                )
            if not (read := os.read(reader, _CHUNK)):
                raise MachineError(
                    f"The guest at {port} ended before it set its clock.",
                    remedy="QEMU's log, in lost/ of the run's folder, says why if it ended by itself.",
                )
            heard = heard[-len(line) :] + read
            limited.check("Setting the guest's clock")


def clock_ends(port: Path) -> tuple[Path, Path]:
    """Its FIFOs: towards the guest, and from it."""
    return port.with_name(f"{port.name}.in"), port.with_name(f"{port.name}.out")

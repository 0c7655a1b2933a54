"""Bounds what the guest can make its serial files take on the host's disk.

The debug channel is bounded only while nobody is there to read it: a reader gives back what it has read
(`harness.debuggers.tail`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from harness.host.fallocate import punch_hole
from harness.machine.protocol import Channels

LIMIT = 64 << 20
"""Bytes on the disk from which a file is cut; a serial port brings 326 KB/s."""
KEPT = 4 << 20
"""Bytes at its end that stay: readers look at the end only."""


def bound(channels: Channels) -> None:
    """Gives back the disk space of old output; sizes and offsets stay, so QEMU does not notice."""
    for file in (channels.console, channels.journal, channels.com3, channels.com4):
        with suppress(OSError):
            _bound(file)


def bound_debug_channel(channels: Channels) -> None:
    """The same for the debug channel of a guest that no run is reading."""
    with suppress(OSError):
        _bound(channels.dbgprint)


def _bound(file: Path) -> None:
    if file.stat().st_blocks * 512 <= LIMIT:
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        punch_hole(descriptor, 0, os.fstat(descriptor).st_size - KEPT)
    finally:
        os.close(descriptor)

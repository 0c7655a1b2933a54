"""Bounds the disk space on the host that the guest's serial files take.

The debug channel is bounded here only while no run reads it: a reader itself frees the space of what it has
read (`harness.debuggers.tail`).
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from harness.host.fallocate import punch_hole
from harness.machine.protocol import Channels

SOCKETS = "sockets"
"""Sub-folder of a machine's folder in which QEMU makes its sockets."""
VNC_SOCKET = f"{SOCKETS}/vnc.sock"
"""In the machine's folder: its screen and keyboard, see `harness.machine.console`."""
LIMIT = 64 << 20
"""Disk space in bytes above which a file is cut; a serial port delivers 326 KB/s."""
KEPT = 4 << 20
"""Bytes kept at the file's end: readers read only the end."""


def bound(channels: Channels) -> None:
    """Frees the disk space of old output; file sizes and offsets stay, so QEMU does not notice."""
    for file in (channels.console, channels.journal, channels.com3, channels.com4):
        with suppress(OSError):
            _bound(file)


def bound_debug_channel(channels: Channels) -> None:
    """Frees the disk space of old debug output, for a guest whose debug channel no run reads."""
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

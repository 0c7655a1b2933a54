"""Windows on an offline disk: the volume it lives on, the dumps it left, and its SYSTEM hive."""

from __future__ import annotations

import re
from collections.abc import Iterable

from harness.deadline import Deadline
from harness.dumps.formats.kerneldump import SIGNATURE
from harness.errors import MachineError
from harness.offline.ntfs import NtfsVolume

SYSTEM_HIVE = "Windows/System32/config/SYSTEM"
MEMORY_DUMP = "Windows/MEMORY.DMP"
MINIDUMPS = "Windows/Minidump"
PAGE_FILE = "pagefile.sys"
"""Holds a kernel dump from the crash until the next boot copies it out (Windows Internals, 6th ed.)."""
DEDICATED_FILE = "winvm/dedicated.dmp"
"""Holds the dump instead of the page file, if the profile says so (guest/provision/plan/crash.py)."""
_MINIDUMP = re.compile(r"[0-9A-Za-z-]{1,64}\.dmp", re.IGNORECASE)


def find_windows(volumes: Iterable[NtfsVolume], deadline: Deadline) -> NtfsVolume:
    """The volume with a SYSTEM hive: Setup also makes partitions without one.

    Raises:
        MachineError: no volume has one.
        HostError, DeadlineError: see `NtfsVolume`.
    """
    for volume in volumes:
        if volume.entry(SYSTEM_HIVE, deadline):
            return volume
    raise MachineError(
        "No NTFS partition of the disk holds Windows.",
        remedy="Name the disk of a Windows guest; an encrypted volume (BitLocker) cannot be read.",
    )


def dumps(volume: NtfsVolume, deadline: Deadline) -> tuple[str, ...]:
    """Paths at which a dump of the last crash may be, the best first.

    A dump that was not copied out yet comes first: it is newer than MEMORY.DMP. Of the minidumps only the
    newest is named; they are called `MMDDYY-<ticks>-NN.dmp`, so the year is compared before month and day.
    """
    found = [
        path
        for path in (DEDICATED_FILE, PAGE_FILE)
        if volume.entry(path, deadline) and volume.starts_with(path, SIGNATURE, deadline)
    ]
    if volume.entry(MEMORY_DUMP, deadline):
        found.append(MEMORY_DUMP)
    try:
        names = [one.name for one in volume.list(MINIDUMPS, deadline) if _MINIDUMP.fullmatch(one.name)]
    except MachineError:
        names = []
    if names:
        newest = max(names, key=lambda name: (name[4:6], name[:4], name))
        found.append(f"{MINIDUMPS}/{newest}")
    return tuple(found)

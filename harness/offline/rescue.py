"""Offline rescue: disables a driver that crashes its guest at every boot, so that the guest boots again."""

from __future__ import annotations

from pathlib import Path

from harness.deadline import Deadline
from harness.host import confined
from harness.offline.disk import OfflineDisk
from harness.offline.hive import DISABLED, SystemHive
from harness.offline.windows import SYSTEM_HIVE, find_windows

HIVE_LIMIT = 512 << 20


def disable_driver(image: Path, service: str, deadline: Deadline) -> int:
    """Disables a driver's service on a disk whose machine is off; returns the start type it had.

    Raises:
        ConfigurationError: there is no such service.
        MachineError: the disk holds no Windows that can be read, or is in use.
        HostError: a tool is missing.
        DeadlineError: it took too long; the disk holds the old hive or the new one, complete.
    """
    with confined.folder("winvm-hive-") as folder:
        file = folder / "SYSTEM"
        with OfflineDisk(image, deadline) as disk:
            windows = find_windows(disk.volumes, deadline)
            windows.copy_out(SYSTEM_HIVE, file, deadline, HIVE_LIMIT)
        hive = SystemHive(file, deadline)
        before = hive.start_type(service)
        hive.set_start_type(service, DISABLED)
        with OfflineDisk(image, deadline, write=windows.partition) as disk:
            (volume,) = disk.volumes
            volume.copy_in(file, SYSTEM_HIVE, deadline)
    assert before is not None  # else set_start_type raised
    return before

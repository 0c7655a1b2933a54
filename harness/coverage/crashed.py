"""Counters of a driver that crashed, out of the dump of its process: what was covered until then.

On the Wine guest `vm/wine/crashdump.c` adds them to the minidump as a stream of its own.
"""

from __future__ import annotations

from pathlib import Path

from harness.coverage.image import CoverageImage
from harness.dumps.dumpfile import DumpFile
from harness.dumps.formats.minidump import SIGNATURE, Minidump
from harness.errors import WinvmError

STREAM = 0x57430001
DUMP = "minidump.dmp"


def crash_counters(folder: Path, image: CoverageImage) -> bytes | None:
    """The counters of a crash, as they lay in memory; None if its evidence has none of this driver.

    Args:
        folder: the crash's evidence.
        image: the driver that crashed.
    """
    path = folder / DUMP
    if not path.is_file():
        return None
    try:
        with DumpFile(path) as file:
            if file.read(0, 4) != SIGNATURE:
                return None
            found = Minidump(file, []).stream(STREAM, image.counter_bytes)
    except WinvmError:
        return None
    return found if len(found) == image.counter_bytes else None

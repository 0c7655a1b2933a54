"""Where a kernel's debugger connection ends on the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KernelLine:
    """Debugger connection of a kernel: a serial line, or KDNET with the file that holds its key.

    KDNET comes through the guest's network adapter whose socket is `adapter`, else to a UDP port here.
    """

    serial: Path | None = None
    port: int = 0
    key_file: Path | None = None
    adapter: Path | None = None

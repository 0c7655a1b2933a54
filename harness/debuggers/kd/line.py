"""Where a kernel's debugger connection ends on the host."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KernelLine:
    """Debugger connection of a kernel: a serial line, or a UDP port and the file that holds the key."""

    serial: Path | None = None
    port: int = 0
    key_file: Path | None = None

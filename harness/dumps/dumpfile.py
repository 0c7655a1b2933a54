"""A dump file, mapped into memory: it is never read as a whole, and no offset in it is trusted."""

from __future__ import annotations

import mmap
import os
import struct
from typing import TYPE_CHECKING

from harness.errors import DumpError
from harness.host.regular import open_regular

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class DumpFile:
    """Read-only view of a dump. A read past the end returns the bytes up to the end; no read raises.

    Raises:
        DumpError: there is no such regular file, it is empty, or it cannot be mapped.
    """

    def __init__(self, path: Path | str) -> None:
        try:
            file = open_regular(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DumpError(f"{path} cannot be opened: {reason}.", remedy="Name a dump file.") from error
        with file:
            self.path = path
            self.size = os.fstat(file.fileno()).st_size
            if self.size == 0:
                raise DumpError(f"{path} is empty.", remedy="Copy it from the guest again.")
            try:
                self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
            except (OSError, ValueError) as error:
                raise DumpError(f"{path} cannot be mapped: {error}.") from error
        self._map.madvise(mmap.MADV_RANDOM)  # page tables are far apart: no read-ahead

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer, or none, where the file ends."""
        if offset < 0 or size <= 0 or offset >= self.size:
            return b""
        return self._map[offset : min(offset + size, self.size)]

    def u32(self, offset: int) -> int:
        """The 32-bit number at `offset`; 0 when the file does not hold it."""
        return int(struct.unpack("<I", self.read(offset, 4).ljust(4, b"\0"))[0])

    def close(self) -> None:
        """Unmaps the file."""
        self._map.close()

    def __enter__(self) -> DumpFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

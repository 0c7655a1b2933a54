"""A dump file, mapped into memory: it is never read as a whole, and no offset in it is trusted."""

from __future__ import annotations

import mmap
import os
import stat
import struct
from pathlib import Path
from types import TracebackType

from harness.errors import DumpError


class DumpFile:
    """Read-only view of a dump. A read past the end returns the bytes up to the end; no read raises.

    Raises:
        DumpError: there is no such regular file, it is empty, or it cannot be mapped.
    """

    def __init__(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO would block
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DumpError(f"{path} cannot be opened: {reason}.", remedy="Name a dump file.") from error
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise DumpError(f"{path} is not a regular file.", remedy="Name a dump file.")
            if status.st_size == 0:
                raise DumpError(f"{path} is empty.", remedy="Copy it from the guest again.")
            self._map = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            self._map.madvise(mmap.MADV_RANDOM)  # page tables are far apart: no read-ahead
        except (OSError, ValueError) as error:
            raise DumpError(f"{path} cannot be mapped: {error}.") from error
        finally:
            os.close(descriptor)
        self.path = path
        self.size = status.st_size

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

"""Reads what another process appends to a file, through truncation and replacement."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from harness.host.fallocate import punch_hole

RECLAIM_STEP = 16 << 20
"""Number of read bytes after which their disk space is freed."""
BLOCK = 4096


class FileTail:
    """The bytes appended to `path` since the last `read`, from the file's beginning.

    The file need not exist yet. QEMU truncates its channel files when a machine is started, and libvirt may
    replace them; in both cases reading starts over at the new file's beginning.

    Args:
        reclaim: free the disk space of what was read, `RECLAIM_STEP` bytes at a time; this does not disturb
            the writer, which only appends. A later tail of the same file begins at the first data that is
            left.
        skip: bytes at the beginning of the first file to leave out.
    """

    def __init__(self, path: Path, *, reclaim: bool = False, skip: int = 0) -> None:
        self.path = path
        self._skip = skip
        self._reclaim = reclaim
        self._descriptor: int | None = None
        self._position = 0
        self._reclaimed = 0

    def read(self, limit: int) -> bytes:
        """Up to `limit` new bytes; empty when there is nothing new."""
        if self._descriptor is not None:
            if data := self._next(self._descriptor, limit):
                return data
            if not self._starts_over():
                return b""
            self.close()
        with contextlib.suppress(FileNotFoundError):
            self._descriptor = os.open(
                self.path, (os.O_RDWR if self._reclaim else os.O_RDONLY) | os.O_CLOEXEC
            )
            with contextlib.suppress(OSError):  # ENXIO: no data yet
                self._position = self._reclaimed = os.lseek(self._descriptor, self._skip, os.SEEK_DATA)
            self._position, self._skip = max(self._position, self._skip), 0
            return self._next(self._descriptor, limit)
        return b""

    def unread(self) -> int:
        """Number of unread bytes in the open file."""
        if self._descriptor is None:
            return 0
        return max(0, os.fstat(self._descriptor).st_size - self._position)

    def abandon(self) -> int:
        """Closes the open file if the path names another file now; returns how many bytes stay unread."""
        if self._descriptor is None or not self._starts_over():
            return 0
        unread = self.unread()
        if self._reclaim:
            punch_hole(self._descriptor, self._reclaimed, self._position + unread - self._reclaimed)
        self.close()
        return unread

    def close(self) -> None:
        """Closes the file; a later `read` starts at its beginning."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._position, self._reclaimed = None, 0, 0

    def _next(self, descriptor: int, limit: int) -> bytes:
        data = os.pread(descriptor, limit, self._position)
        self._position += len(data)
        if self._reclaim and self._position - self._reclaimed >= RECLAIM_STEP + BLOCK:
            read = self._position - self._position % BLOCK
            punch_hole(descriptor, self._reclaimed, read - self._reclaimed)
            self._reclaimed = read
        return data

    def _starts_over(self) -> bool:
        assert self._descriptor is not None
        here = os.fstat(self._descriptor)
        if here.st_size < self._position:
            return True
        with contextlib.suppress(FileNotFoundError):
            there = self.path.stat()
            return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        return False  # removed: the writer may still have it open

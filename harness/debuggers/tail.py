"""Reads what another process appends to a file, through truncation and replacement."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class FileTail:
    """The bytes appended to `path` since the last `read`, from the file's beginning.

    The file need not exist yet. QEMU truncates its channel files when a machine starts anew, and libvirt may
    replace them; either way reading starts over at the new beginning.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        self._position = 0

    def read(self, limit: int) -> bytes:
        """Up to `limit` new bytes; empty when there is nothing new."""
        if self._descriptor is not None:
            data = os.pread(self._descriptor, limit, self._position)
            self._position += len(data)
            if data:
                return data
            if not self._starts_over():
                return b""
            self.close()
        with contextlib.suppress(FileNotFoundError):
            self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            data = os.pread(self._descriptor, limit, 0)
            self._position = len(data)
            return data
        return b""

    def close(self) -> None:
        """Closes the file; a later `read` starts at its beginning."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor, self._position = None, 0

    def _starts_over(self) -> bool:
        assert self._descriptor is not None
        here = os.fstat(self._descriptor)
        if here.st_size < self._position:
            return True
        with contextlib.suppress(FileNotFoundError):
            there = self.path.stat()
            return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)
        return False  # removed: the writer may still hold it

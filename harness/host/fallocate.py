"""Linux fallocate(2): disk space reserved behind a file's end, and given back from its beginning.

`os.posix_fallocate` cannot do either: it moves the end of the file. On a file system without support for
fallocate(2), both functions do nothing.
"""

from __future__ import annotations

import ctypes
import errno
import os

_KEEP_SIZE = 0x01
_PUNCH_HOLE = 0x02
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.ENOSYS)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate64.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


def reserve(descriptor: int, offset: int, length: int) -> None:
    """Makes sure that `length` bytes from `offset` on can be written; the file's size stays.

    Raises:
        OSError: the disk is full.
    """
    _fallocate(descriptor, _KEEP_SIZE, offset, length)


def punch_hole(descriptor: int, offset: int, length: int) -> None:
    """Gives the disk space of a range back; it reads as zeros then, and the file's size stays.

    Raises:
        OSError: the file is not open for writing.
    """
    if length > 0:
        _fallocate(descriptor, _KEEP_SIZE | _PUNCH_HOLE, offset, length)


def _fallocate(descriptor: int, mode: int, offset: int, length: int) -> None:
    while _libc.fallocate64(descriptor, mode, offset, length):
        code = ctypes.get_errno()
        if code in _UNSUPPORTED:
            return
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))

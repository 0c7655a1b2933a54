"""Writes to a serial port. Microsoft Learn, CreateFile, communications resources: share mode must be 0."""

from __future__ import annotations

import ctypes
import sys

assert sys.platform == "win32"

GENERIC_WRITE = 0x40000000
OPEN_EXISTING = 3
INVALID_HANDLE_VALUE = ctypes.c_void_p(-1).value


class SerialPort:
    """`COM<n>`, open for as long as the process lives; raises `OSError` when it is missing or in use."""

    def __init__(self, name: str) -> None:
        kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
        create = kernel32.CreateFileW
        create.restype = ctypes.c_void_p
        create.argtypes = (
            ctypes.c_wchar_p,  # name
            ctypes.c_uint32,  # access
            ctypes.c_uint32,  # share mode
            ctypes.c_void_p,  # security
            ctypes.c_uint32,  # disposition
            ctypes.c_uint32,  # flags
            ctypes.c_void_p,  # template
        )
        self._write = kernel32.WriteFile
        self._write.argtypes = (
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_uint32,
            ctypes.POINTER(ctypes.c_uint32),
            ctypes.c_void_p,
        )
        self._handle = create(rf"\\.\{name}", GENERIC_WRITE, 0, None, OPEN_EXISTING, 0, None)
        if self._handle == INVALID_HANDLE_VALUE:
            raise ctypes.WinError(ctypes.get_last_error())

    def write(self, line: bytes) -> None:
        """Returns when the port has taken all of it; raises `OSError`."""
        while line:
            written = ctypes.c_uint32()
            if not self._write(self._handle, line, len(line), ctypes.byref(written), None):
                raise ctypes.WinError(ctypes.get_last_error())
            line = line[written.value :]

"""A serial port of Windows, read and written at once by two threads.

Microsoft Learn, "Communications Resources": share mode 0; a port opened without FILE_FLAG_OVERLAPPED lets a
write wait for a read. Wine's does not, and there it is the faster one: it reads and polls the device itself,
where an overlapped request is a matter of several calls of wineserver. The line's speed is nominal: an
emulated 16550 moves bytes as fast as they are taken.
"""

from __future__ import annotations

import ctypes
import sys
from typing import Any, Self

assert sys.platform == "win32"

from ctypes import wintypes  # noqa: E402 - the module exists elsewhere, its use here does not

BUFFER_BYTES = 64 << 10
READ_BYTES = 16 << 10
BAUD = 115_200
_GENERIC_READ_WRITE = 0xC000_0000
_OPEN_EXISTING = 3
_FILE_FLAG_OVERLAPPED = 0x4000_0000
_ERROR_IO_PENDING = 997
_INVALID = ctypes.c_void_p(-1).value
_BINARY, _DTR_ENABLED, _RTS_ENABLED = 1, 1 << 4, 1 << 12

_WINE = hasattr(ctypes.WinDLL("ntdll"), "wine_get_version")
_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.CreateFileW.argtypes = [
    wintypes.LPCWSTR,
    wintypes.DWORD,
    wintypes.DWORD,
    ctypes.c_void_p,
    wintypes.DWORD,
    wintypes.DWORD,
    wintypes.HANDLE,
]
_kernel32.CreateFileW.restype = wintypes.HANDLE
_kernel32.CreateEventW.argtypes = [ctypes.c_void_p, wintypes.BOOL, wintypes.BOOL, wintypes.LPCWSTR]
_kernel32.CreateEventW.restype = wintypes.HANDLE
_kernel32.SetupComm.argtypes = [wintypes.HANDLE, wintypes.DWORD, wintypes.DWORD]
_kernel32.GetCommState.argtypes = [wintypes.HANDLE, ctypes.c_void_p]
_kernel32.SetCommState.argtypes = [wintypes.HANDLE, ctypes.c_void_p]
_kernel32.SetCommTimeouts.argtypes = [wintypes.HANDLE, ctypes.c_void_p]
_kernel32.ReadFile.argtypes = [
    wintypes.HANDLE,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.c_void_p,
    ctypes.c_void_p,
]
_kernel32.WriteFile.argtypes = [
    wintypes.HANDLE,
    ctypes.c_char_p,
    wintypes.DWORD,
    ctypes.c_void_p,
    ctypes.c_void_p,
]
_kernel32.GetOverlappedResult.argtypes = [
    wintypes.HANDLE,
    ctypes.c_void_p,
    ctypes.POINTER(wintypes.DWORD),
    wintypes.BOOL,
]


class _Overlapped(ctypes.Structure):
    _fields_ = (
        ("Internal", ctypes.c_void_p),
        ("InternalHigh", ctypes.c_void_p),
        ("Offset", wintypes.DWORD),
        ("OffsetHigh", wintypes.DWORD),
        ("hEvent", wintypes.HANDLE),
    )

    @classmethod
    def new(cls) -> Self:
        """One with an event of its own, which each request resets; for one request at a time."""
        return cls(hEvent=_kernel32.CreateEventW(None, True, False, None))


class _Dcb(ctypes.Structure):
    _fields_ = (
        ("DCBlength", wintypes.DWORD),
        ("BaudRate", wintypes.DWORD),
        ("flags", wintypes.DWORD),
        ("wReserved", wintypes.WORD),
        ("XonLim", wintypes.WORD),
        ("XoffLim", wintypes.WORD),
        ("ByteSize", ctypes.c_ubyte),
        ("Parity", ctypes.c_ubyte),
        ("StopBits", ctypes.c_ubyte),
        ("characters", ctypes.c_ubyte * 5),
        ("wReserved1", wintypes.WORD),
    )


class _Timeouts(ctypes.Structure):
    _fields_ = (
        ("ReadIntervalTimeout", wintypes.DWORD),
        ("ReadTotalTimeoutMultiplier", wintypes.DWORD),
        ("ReadTotalTimeoutConstant", wintypes.DWORD),
        ("WriteTotalTimeoutMultiplier", wintypes.DWORD),
        ("WriteTotalTimeoutConstant", wintypes.DWORD),
    )


class Port:
    """`COM<n>`, open as long as the process lives: one thread may read while another writes.

    Raises:
        OSError: it is missing or in use, or refuses a setting.
    """

    def __init__(self, name: str) -> None:
        flags = 0 if _WINE else _FILE_FLAG_OVERLAPPED
        self._handle = _kernel32.CreateFileW(
            rf"\\.\{name}", _GENERIC_READ_WRITE, 0, None, _OPEN_EXISTING, flags, None
        )
        if self._handle == _INVALID:
            raise ctypes.WinError(ctypes.get_last_error())
        _kernel32.SetupComm(self._handle, BUFFER_BYTES, BUFFER_BYTES)  # a request, which a driver may ignore
        settings = _Dcb(DCBlength=ctypes.sizeof(_Dcb))
        _check(_kernel32.GetCommState(self._handle, ctypes.byref(settings)))
        settings.BaudRate, settings.ByteSize, settings.Parity, settings.StopBits = BAUD, 8, 0, 0
        settings.flags = _BINARY | _DTR_ENABLED | _RTS_ENABLED  # no flow control, no bytes with a meaning
        _check(_kernel32.SetCommState(self._handle, ctypes.byref(settings)))
        # No time-outs: a read ends when it has what it asked for.
        _check(_kernel32.SetCommTimeouts(self._handle, ctypes.byref(_Timeouts())))
        self._reading, self._writing = (None if _WINE else _Overlapped.new() for _ in range(2))
        self._buffer = ctypes.create_string_buffer(READ_BYTES)

    def read(self, count: int) -> bytes:
        """Waits for so many bytes, at most `READ_BYTES`; raises `OSError`."""
        moved = self._moved(_kernel32.ReadFile, self._buffer, min(count, READ_BYTES), self._reading)
        return ctypes.string_at(self._buffer, moved)  # only now are the bytes there

    def write(self, data: bytes) -> None:
        """Returns when the driver has taken all of it; raises `OSError`."""
        while data:
            data = data[self._moved(_kernel32.WriteFile, data, len(data), self._writing) :]

    def _moved(self, move: Any, data: Any, count: int, overlapped: _Overlapped | None) -> int:
        """Bytes that ReadFile or WriteFile moved, at its end."""
        moved = wintypes.DWORD()
        if overlapped is None:
            _check(move(self._handle, data, count, ctypes.byref(moved), None))
            return moved.value
        request = ctypes.byref(overlapped)
        started = move(self._handle, data, count, None, request)
        if not started and (code := ctypes.get_last_error()) != _ERROR_IO_PENDING:
            raise ctypes.WinError(code)
        _check(_kernel32.GetOverlappedResult(self._handle, request, ctypes.byref(moved), True))
        return moved.value


def _check(done: int) -> None:
    if not done:
        raise ctypes.WinError(ctypes.get_last_error())

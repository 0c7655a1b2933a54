"""A serial port of Windows, read and written at once by two threads: overlapped I/O.

Microsoft Learn, "Communications Resources": share mode 0; a port opened without FILE_FLAG_OVERLAPPED lets a
write wait for a read. The line's speed is nominal: an emulated 16550 moves bytes as fast as they are taken.
"""

from __future__ import annotations

import ctypes
import sys
import time

assert sys.platform == "win32"

from ctypes import wintypes  # noqa: E402 - the module exists elsewhere, its use here does not

BUFFER_BYTES = 64 << 10
READ_BYTES = 16 << 10
BAUD = 115_200
GATHER_S = (0.002, 0.004, 0.004, 0.008, 0.016, 0.032)
"""Seconds of sleep while a frame is incomplete; afterwards it may never come, and a read waits."""
_GENERIC_READ_WRITE = 0xC000_0000
_OPEN_EXISTING = 3
_FILE_FLAG_OVERLAPPED = 0x4000_0000
_ERROR_IO_PENDING = 997
_INVALID = ctypes.c_void_p(-1).value
_BINARY, _DTR_ENABLED, _RTS_ENABLED = 1, 1 << 4, 1 << 12

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
_kernel32.ClearCommError.argtypes = [wintypes.HANDLE, ctypes.c_void_p, ctypes.c_void_p]
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


class _Status(ctypes.Structure):
    _fields_ = (("flags", wintypes.DWORD), ("cbInQue", wintypes.DWORD), ("cbOutQue", wintypes.DWORD))


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
        self._handle = _kernel32.CreateFileW(
            rf"\\.\{name}", _GENERIC_READ_WRITE, 0, None, _OPEN_EXISTING, _FILE_FLAG_OVERLAPPED, None
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
        self._read_done, self._write_done = (
            _kernel32.CreateEventW(None, True, False, None) for _ in range(2)
        )
        self._buffer = ctypes.create_string_buffer(READ_BYTES)

    def read(self, more: bool) -> bytes:
        """What has arrived, at least one byte; raises `OSError`.

        Waits for one byte, then takes what lies there. Windows has a read that does both at once (time-outs
        of MAXDWORD, MAXDWORD and n), which Wine takes for one that waits until the buffer is full.

        Args:
            more: the rest of a frame is on its way. The UART holds 16 bytes, and a wait costs Wine more time
                than they take to arrive: a moment of sleep lets them gather, and one call takes them all.
        """
        for pause in GATHER_S if more else ():
            time.sleep(pause)
            if waiting := self._waiting():
                return self._read(min(waiting, READ_BYTES))
        first = self._read(1)
        waiting = self._waiting()
        return first + self._read(min(waiting, READ_BYTES)) if waiting else first

    def _waiting(self) -> int:
        """Bytes that the driver holds."""
        errors, status = wintypes.DWORD(), _Status()
        _check(_kernel32.ClearCommError(self._handle, ctypes.byref(errors), ctypes.byref(status)))
        return int(status.cbInQue)

    def _read(self, count: int) -> bytes:
        overlapped = _Overlapped(hEvent=self._read_done)
        started = _kernel32.ReadFile(self._handle, self._buffer, count, None, ctypes.byref(overlapped))
        moved = self._finished(started, overlapped)
        return ctypes.string_at(self._buffer, moved)  # only now are the bytes there

    def write(self, data: bytes) -> None:
        """Returns when the driver has taken all of it; raises `OSError`."""
        while data:
            overlapped = _Overlapped(hEvent=self._write_done)
            started = _kernel32.WriteFile(self._handle, data, len(data), None, ctypes.byref(overlapped))
            data = data[self._finished(started, overlapped) :]

    def _finished(self, started: int, overlapped: _Overlapped) -> int:
        if not started and (code := ctypes.get_last_error()) != _ERROR_IO_PENDING:
            raise ctypes.WinError(code)
        moved = wintypes.DWORD()
        _check(
            _kernel32.GetOverlappedResult(self._handle, ctypes.byref(overlapped), ctypes.byref(moved), True)
        )
        return moved.value


def _check(done: int) -> None:
    if not done:
        raise ctypes.WinError(ctypes.get_last_error())

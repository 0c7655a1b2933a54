"""Windows job objects: a program and all its descendants, ended together.

All calls are documented Win32 calls except NtResumeProcess. ResumeThread would need the handle of the main
thread, which `subprocess` closes, and a program must not run before it is in its job.
"""

from __future__ import annotations

import ctypes
import sys

assert sys.platform == "win32"

from ctypes import wintypes  # noqa: E402 - the module exists elsewhere, its use here does not

CREATE_SUSPENDED = 0x4

_ERROR_INVALID_FUNCTION = 1  # a system whose job objects are stubs, as ReactOS'

_JOB_OBJECT_EXTENDED_LIMIT_INFORMATION = 9
_JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE = 0x2000

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")
_kernel32.CreateJobObjectW.argtypes = [ctypes.c_void_p, wintypes.LPCWSTR]
_kernel32.CreateJobObjectW.restype = wintypes.HANDLE
_kernel32.SetInformationJobObject.argtypes = [wintypes.HANDLE, ctypes.c_int, ctypes.c_void_p, wintypes.DWORD]
_kernel32.AssignProcessToJobObject.argtypes = [wintypes.HANDLE, wintypes.HANDLE]
_kernel32.TerminateJobObject.argtypes = [wintypes.HANDLE, wintypes.UINT]
_kernel32.TerminateProcess.argtypes = [wintypes.HANDLE, wintypes.UINT]
_kernel32.CloseHandle.argtypes = [wintypes.HANDLE]
_ntdll.NtResumeProcess.argtypes = [wintypes.HANDLE]


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
        ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_uint64 * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


def resume(process_handle: int) -> None:
    """Lets a process run that was created suspended."""
    _ntdll.NtResumeProcess(process_handle)


class Job:
    """One job object. Its processes end when it is closed, and when this process ends.

    On a system that has no job objects it holds the added process alone, whose descendants are not ended.
    """

    def __init__(self) -> None:
        handle = _kernel32.CreateJobObjectW(None, None)
        if not handle:
            raise ctypes.WinError(ctypes.get_last_error())
        self._handle: int | None = handle
        self._alone: int | None = None
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = _JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
        if not _kernel32.SetInformationJobObject(
            handle, _JOB_OBJECT_EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), ctypes.sizeof(limits)
        ):
            error = ctypes.WinError(ctypes.get_last_error())
            self.close()
            if error.winerror != _ERROR_INVALID_FUNCTION:
                raise error

    def add(self, process_handle: int) -> None:
        """Adds a process that was created suspended; its handle stays open as long as the job does."""
        if self._handle is not None and not _kernel32.AssignProcessToJobObject(self._handle, process_handle):
            error = ctypes.WinError(ctypes.get_last_error())
            if error.winerror != _ERROR_INVALID_FUNCTION:
                raise error
            self.close()
        if self._handle is None:
            self._alone = process_handle

    def terminate(self, exit_code: int) -> None:
        """Ends every process of the job; does nothing if none is left."""
        if self._handle is not None:
            _kernel32.TerminateJobObject(self._handle, exit_code)
        elif self._alone is not None:
            _kernel32.TerminateProcess(self._alone, exit_code)

    def close(self) -> None:
        """Ends every process of the job and closes its handle."""
        handle, self._handle = self._handle, None
        alone, self._alone = self._alone, None
        if handle is not None:
            _kernel32.CloseHandle(handle)
        elif alone is not None:
            _kernel32.TerminateProcess(alone, 1)

"""Win32 and native types with the widths of 64-bit Windows, on every machine that imports them.

`ctypes.wintypes` follows the host's `long`, so its DWORD has 8 bytes on Linux; these do not.
Sources: Windows SDK headers (minwinbase.h, winsvc.h, tlhelp32.h, ntdef.h), as published in the API reference.
"""

from __future__ import annotations

import ctypes

WORD = ctypes.c_uint16
DWORD = ctypes.c_uint32
ULONG = ctypes.c_uint32
NTSTATUS = ctypes.c_uint32  # unsigned, as in documentation and messages
BOOL = ctypes.c_int32
HANDLE = ctypes.c_void_p
POINTER = ctypes.c_void_p
SIZE_T = ctypes.c_size_t
ULONG_PTR = ctypes.c_size_t
LPCWSTR = ctypes.c_wchar_p
LPCSTR = ctypes.c_char_p
LARGE_INTEGER = ctypes.c_int64

INVALID_HANDLE_VALUE = 0xFFFFFFFFFFFFFFFF


class OverlappedLayout(ctypes.Structure):
    """OVERLAPPED (minwinbase.h), 32 bytes."""

    _fields_ = (
        ("Internal", ULONG_PTR),
        ("InternalHigh", ULONG_PTR),
        ("Offset", DWORD),
        ("OffsetHigh", DWORD),
        ("hEvent", HANDLE),
    )


class SystemTime(ctypes.Structure):
    """SYSTEMTIME (minwinbase.h), 16 bytes, UTC."""

    _fields_ = (
        ("wYear", WORD),
        ("wMonth", WORD),
        ("wDayOfWeek", WORD),
        ("wDay", WORD),
        ("wHour", WORD),
        ("wMinute", WORD),
        ("wSecond", WORD),
        ("wMilliseconds", WORD),
    )


class ServiceStatusProcess(ctypes.Structure):
    """SERVICE_STATUS_PROCESS (winsvc.h), 36 bytes."""

    _fields_ = (
        ("dwServiceType", DWORD),
        ("dwCurrentState", DWORD),
        ("dwControlsAccepted", DWORD),
        ("dwWin32ExitCode", DWORD),
        ("dwServiceSpecificExitCode", DWORD),
        ("dwCheckPoint", DWORD),
        ("dwWaitHint", DWORD),
        ("dwProcessId", DWORD),
        ("dwServiceFlags", DWORD),
    )


class ProcessEntry(ctypes.Structure):
    """PROCESSENTRY32W (tlhelp32.h), 568 bytes."""

    _fields_ = (
        ("dwSize", DWORD),
        ("cntUsage", DWORD),
        ("th32ProcessID", DWORD),
        ("th32DefaultHeapID", ULONG_PTR),
        ("th32ModuleID", DWORD),
        ("cntThreads", DWORD),
        ("th32ParentProcessID", DWORD),
        ("pcPriClassBase", ctypes.c_int32),
        ("dwFlags", DWORD),
        ("szExeFile", WORD * 260),
    )

    @property
    def name(self) -> str:
        """File name of the program."""
        return bytes(self.szExeFile).decode("utf-16-le", "replace").partition("\0")[0]


class UnicodeString(ctypes.Structure):
    """UNICODE_STRING (ntdef.h), 16 bytes; lengths in bytes."""

    _fields_ = (("Length", WORD), ("MaximumLength", WORD), ("Buffer", ctypes.c_wchar_p))


class ObjectAttributes(ctypes.Structure):
    """OBJECT_ATTRIBUTES (ntdef.h), 48 bytes."""

    _fields_ = (
        ("Length", ULONG),
        ("RootDirectory", HANDLE),
        ("ObjectName", ctypes.POINTER(UnicodeString)),
        ("Attributes", ULONG),
        ("SecurityDescriptor", POINTER),
        ("SecurityQualityOfService", POINTER),
    )


class IoStatusBlock(ctypes.Structure):
    """IO_STATUS_BLOCK (wdm.h), 16 bytes; `Status` is the low half of a union with a pointer."""

    _fields_ = (("Status", NTSTATUS), ("_padding", DWORD), ("Information", ULONG_PTR))

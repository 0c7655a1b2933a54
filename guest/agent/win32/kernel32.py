"""Prototypes of the kernel32 exports this package calls (signatures as in the Windows SDK headers)."""

from __future__ import annotations

from agent.win32.binding import Function, invalid_handle, never
from agent.win32.layouts import BOOL, DWORD, HANDLE, LPCWSTR, POINTER, SIZE_T

DLL = "kernel32"

CloseHandle = Function(DLL, "CloseHandle", BOOL, HANDLE)
CreateFileW = Function(
    DLL, "CreateFileW", HANDLE, LPCWSTR, DWORD, DWORD, POINTER, DWORD, DWORD, HANDLE, failed=invalid_handle
)
ReadFile = Function(DLL, "ReadFile", BOOL, HANDLE, POINTER, DWORD, POINTER, POINTER)
WriteFile = Function(DLL, "WriteFile", BOOL, HANDLE, POINTER, DWORD, POINTER, POINTER)
DeviceIoControl = Function(
    DLL, "DeviceIoControl", BOOL, HANDLE, DWORD, POINTER, DWORD, POINTER, DWORD, POINTER, POINTER
)
QueryDosDeviceW = Function(DLL, "QueryDosDeviceW", DWORD, LPCWSTR, POINTER, DWORD)
CancelIo = Function(DLL, "CancelIo", BOOL, HANDLE)
CancelIoEx = Function(DLL, "CancelIoEx", BOOL, HANDLE, POINTER)
GetOverlappedResult = Function(DLL, "GetOverlappedResult", BOOL, HANDLE, POINTER, POINTER, BOOL)
CreateEventW = Function(DLL, "CreateEventW", HANDLE, POINTER, BOOL, BOOL, LPCWSTR)
OpenEventW = Function(DLL, "OpenEventW", HANDLE, DWORD, BOOL, LPCWSTR)
SetEvent = Function(DLL, "SetEvent", BOOL, HANDLE)
ResetEvent = Function(DLL, "ResetEvent", BOOL, HANDLE)
WaitForSingleObject = Function(DLL, "WaitForSingleObject", DWORD, HANDLE, DWORD, failed=never)
VirtualAlloc = Function(DLL, "VirtualAlloc", POINTER, POINTER, SIZE_T, DWORD, DWORD)
VirtualFree = Function(DLL, "VirtualFree", BOOL, POINTER, SIZE_T, DWORD)
VirtualProtect = Function(DLL, "VirtualProtect", BOOL, POINTER, SIZE_T, DWORD, POINTER)
GetProcessHeap = Function(DLL, "GetProcessHeap", HANDLE)
HeapAlloc = Function(DLL, "HeapAlloc", POINTER, HANDLE, DWORD, SIZE_T)
HeapFree = Function(DLL, "HeapFree", BOOL, HANDLE, DWORD, POINTER)
WaitForMultipleObjects = Function(
    DLL, "WaitForMultipleObjects", DWORD, DWORD, POINTER, BOOL, DWORD, failed=never
)
OpenProcess = Function(DLL, "OpenProcess", HANDLE, DWORD, BOOL, DWORD)
CreateToolhelp32Snapshot = Function(
    DLL, "CreateToolhelp32Snapshot", HANDLE, DWORD, DWORD, failed=invalid_handle
)
Process32FirstW = Function(DLL, "Process32FirstW", BOOL, HANDLE, POINTER)
Process32NextW = Function(DLL, "Process32NextW", BOOL, HANDLE, POINTER)
GetCurrentProcess = Function(DLL, "GetCurrentProcess", HANDLE, failed=never)

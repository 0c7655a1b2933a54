"""Prototypes of the ntdll exports this package calls (wdm.h, ntifs.h, winternl.h)."""

from __future__ import annotations

import ctypes

from agent.win32.binding import Function, never
from agent.win32.layouts import HANDLE, LPCSTR, NTSTATUS, POINTER, ULONG

DLL = "ntdll"

DbgPrint = Function(DLL, "DbgPrint", ctypes.c_uint32, LPCSTR, LPCSTR, failed=never)
NtCreateFile = Function(
    DLL,
    "NtCreateFile",
    NTSTATUS,
    POINTER,  # handle out
    ULONG,  # desired access
    POINTER,  # object attributes
    POINTER,  # io status block
    POINTER,  # allocation size
    ULONG,  # file attributes
    ULONG,  # share access
    ULONG,  # create disposition
    ULONG,  # create options
    POINTER,  # ea buffer
    ULONG,  # ea length
    failed=never,
)
NtDeviceIoControlFile = Function(
    DLL,
    "NtDeviceIoControlFile",
    NTSTATUS,
    HANDLE,
    HANDLE,  # event
    POINTER,  # apc routine
    POINTER,  # apc context
    POINTER,  # io status block
    ULONG,  # control code
    POINTER,
    ULONG,
    POINTER,
    ULONG,
    failed=never,
)
NtReadFile = Function(
    DLL,
    "NtReadFile",
    NTSTATUS,
    HANDLE,
    HANDLE,
    POINTER,
    POINTER,
    POINTER,
    POINTER,
    ULONG,
    POINTER,  # byte offset
    POINTER,  # key
    failed=never,
)
NtWriteFile = Function(
    DLL,
    "NtWriteFile",
    NTSTATUS,
    HANDLE,
    HANDLE,
    POINTER,
    POINTER,
    POINTER,
    POINTER,
    ULONG,
    POINTER,
    POINTER,
    failed=never,
)

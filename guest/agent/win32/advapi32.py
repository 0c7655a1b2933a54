"""Prototypes of the advapi32 exports this package calls: the service control manager and tokens (winsvc.h,
securitybaseapi.h)."""

from __future__ import annotations

from agent.win32.binding import Function
from agent.win32.layouts import BOOL, DWORD, HANDLE, LPCWSTR, POINTER

DLL = "advapi32"

OpenSCManagerW = Function(DLL, "OpenSCManagerW", HANDLE, LPCWSTR, LPCWSTR, DWORD)
CreateServiceW = Function(
    DLL,
    "CreateServiceW",
    HANDLE,
    HANDLE,  # manager
    LPCWSTR,  # service name
    LPCWSTR,  # display name
    DWORD,  # desired access
    DWORD,  # service type
    DWORD,  # start type
    DWORD,  # error control
    LPCWSTR,  # binary path
    LPCWSTR,  # load order group
    POINTER,  # tag
    LPCWSTR,  # dependencies
    LPCWSTR,  # account
    LPCWSTR,  # password
)
OpenServiceW = Function(DLL, "OpenServiceW", HANDLE, HANDLE, LPCWSTR, DWORD)
StartServiceW = Function(DLL, "StartServiceW", BOOL, HANDLE, DWORD, POINTER)
ControlService = Function(DLL, "ControlService", BOOL, HANDLE, DWORD, POINTER)
DeleteService = Function(DLL, "DeleteService", BOOL, HANDLE)
QueryServiceStatusEx = Function(DLL, "QueryServiceStatusEx", BOOL, HANDLE, DWORD, POINTER, DWORD, POINTER)
CloseServiceHandle = Function(DLL, "CloseServiceHandle", BOOL, HANDLE)

OpenProcessToken = Function(DLL, "OpenProcessToken", BOOL, HANDLE, DWORD, POINTER)
CreateRestrictedToken = Function(
    DLL,
    "CreateRestrictedToken",
    BOOL,
    HANDLE,
    DWORD,  # flags
    DWORD,
    POINTER,  # sids to disable
    DWORD,
    POINTER,  # privileges to delete
    DWORD,
    POINTER,  # sids to restrict to
    POINTER,  # new token out
)
CreateWellKnownSid = Function(DLL, "CreateWellKnownSid", BOOL, DWORD, POINTER, POINTER, POINTER)
ImpersonateLoggedOnUser = Function(DLL, "ImpersonateLoggedOnUser", BOOL, HANDLE)
RevertToSelf = Function(DLL, "RevertToSelf", BOOL)

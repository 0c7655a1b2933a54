"""Fewer rights for a thread: it impersonates a restricted copy of the process token."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

from agent.win32 import advapi32, kernel32
from agent.win32.layouts import DWORD, HANDLE, POINTER
from agent.win32.native import current_process

TOKEN_ALL_ACCESS = 0xF01FF
DISABLE_MAX_PRIVILEGE = 1
WIN_BUILTIN_ADMINISTRATORS_SID = 26
SECURITY_MAX_SID_SIZE = 68


class SidAndAttributes(ctypes.Structure):
    """SID_AND_ATTRIBUTES (winnt.h), 16 bytes."""

    _fields_ = (("Sid", POINTER), ("Attributes", DWORD), ("_padding", DWORD))


@contextmanager
def restricted_user() -> Iterator[None]:
    """This thread acts without privileges, and with the Administrators group used only to deny access.

    Raises:
        Win32Error: the token cannot be restricted or impersonated.
    """
    process_token = HANDLE()
    advapi32.OpenProcessToken.check(
        "OpenProcessToken", current_process(), TOKEN_ALL_ACCESS, ctypes.addressof(process_token)
    )
    restricted = HANDLE()
    try:
        sid = (ctypes.c_char * SECURITY_MAX_SID_SIZE)()
        size = DWORD(len(sid))
        advapi32.CreateWellKnownSid.check(
            "CreateWellKnownSid", WIN_BUILTIN_ADMINISTRATORS_SID, None, sid, ctypes.addressof(size)
        )
        disabled = SidAndAttributes(ctypes.addressof(sid), 0, 0)
        advapi32.CreateRestrictedToken.check(
            "CreateRestrictedToken",
            process_token,
            DISABLE_MAX_PRIVILEGE,
            1,
            ctypes.addressof(disabled),
            0,
            None,
            0,
            None,
            ctypes.addressof(restricted),
        )
        advapi32.ImpersonateLoggedOnUser.check("ImpersonateLoggedOnUser", restricted)
        try:
            yield
        finally:
            advapi32.RevertToSelf.check("RevertToSelf")
    finally:
        for token in (restricted, process_token):
            if token.value:
                kernel32.CloseHandle.call(token)

"""The code page of a program's console, set before the program's first instruction.

A program gets a hidden console of its own, so that no Ctrl+C event and no `chcp` of one program reaches
another. Such a console starts with the system's OEM code page, and no CreateProcess flag changes that. A
thread of the suspended program therefore calls SetConsoleOutputCP and SetConsoleCP: starting a thread makes
the loader create the console first (10 ms in an emulated guest). kernel32.dll has the same address in every
64-bit process.
"""

from __future__ import annotations

import ctypes
import sys

assert sys.platform == "win32"

from ctypes import wintypes  # noqa: E402 - the module exists elsewhere, its use here does not

START_TIMEOUT_MS = 30_000
"""For the loader to initialise the program's DLLs; a DllMain that blocks longer keeps the OEM code page."""

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.GetModuleHandleW.argtypes = [wintypes.LPCWSTR]
_kernel32.GetModuleHandleW.restype = wintypes.HMODULE
_kernel32.GetProcAddress.argtypes = [wintypes.HMODULE, ctypes.c_char_p]
_kernel32.GetProcAddress.restype = ctypes.c_void_p
_kernel32.CreateRemoteThread.argtypes = [
    wintypes.HANDLE,
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_void_p,
    ctypes.c_void_p,
    wintypes.DWORD,
    ctypes.c_void_p,
]
_kernel32.CreateRemoteThread.restype = wintypes.HANDLE
_kernel32.WaitForSingleObject.argtypes = [wintypes.HANDLE, wintypes.DWORD]
_kernel32.CloseHandle.argtypes = [wintypes.HANDLE]
_kernel32.IsWow64Process.argtypes = [wintypes.HANDLE, ctypes.POINTER(wintypes.BOOL)]


def set_codepage(process_handle: int, codepage: int) -> None:
    """Sets the input and output code page of a program that was created suspended.

    A program that has no console, or is not a 64-bit one, keeps what it has.
    """
    if codepage == _kernel32.GetOEMCP() or _is_32_bit(process_handle):
        return
    kernel32 = _kernel32.GetModuleHandleW("kernel32.dll")
    for routine in (b"SetConsoleOutputCP", b"SetConsoleCP"):
        thread = _kernel32.CreateRemoteThread(
            process_handle, None, 0, _kernel32.GetProcAddress(kernel32, routine), codepage, 0, None
        )
        if not thread:
            return
        _kernel32.WaitForSingleObject(thread, START_TIMEOUT_MS)
        _kernel32.CloseHandle(thread)


def _is_32_bit(process_handle: int) -> bool:
    answer = wintypes.BOOL()
    return bool(_kernel32.IsWow64Process(process_handle, ctypes.byref(answer)) and answer.value)

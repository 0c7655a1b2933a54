"""Python runs this at its start: what a program loads by ctypes as kernel32 is the support library.

The guest's own kernel32.dll lacks routines that the agent calls, and the support library hands all others on.
An exception that nobody catches is told to the kernel debugger too: nobody sees the console of a boot.
"""

import _ctypes
import sys

_SUPPORT = {"kernel32": "winvmk32.dll", "kernel32.dll": "winvmk32.dll"}
_load = _ctypes.LoadLibrary


def _load_support(name, *mode):
    return _load(_SUPPORT.get(name.lower(), name) if isinstance(name, str) else name, *mode)


_ctypes.LoadLibrary = _load_support


def _tell_debugger(kind, error, trace):
    sys.__excepthook__(kind, error, trace)
    import ctypes
    import traceback

    output = ctypes.WinDLL("kernel32").OutputDebugStringA
    for line in traceback.format_exception(kind, error, trace):
        output(line.encode("ascii", "backslashreplace"))


sys.excepthook = _tell_debugger

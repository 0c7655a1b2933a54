"""Device interfaces: the paths of the devices that registered an interface class (cfgmgr32.h)."""

from __future__ import annotations

import ctypes
import uuid

from agent.errors import Win32Error
from agent.win32.binding import Function, never
from agent.win32.layouts import DWORD, POINTER

DLL = "cfgmgr32"
PRESENT = 0
CR_SUCCESS, CR_BUFFER_SMALL = 0, 0x1A
ERROR_GEN_FAILURE = 31
TRIES = 10

SizeOfList = Function(
    DLL, "CM_Get_Device_Interface_List_SizeW", DWORD, POINTER, POINTER, POINTER, DWORD, failed=never
)
GetList = Function(
    DLL, "CM_Get_Device_Interface_ListW", DWORD, POINTER, POINTER, POINTER, DWORD, DWORD, failed=never
)


def interface_paths(interface: str | uuid.UUID) -> list[str]:
    """The paths of all present devices of an interface class, for `t.open`; empty without any.

    Args:
        interface: the class's GUID, `{xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx}` or a UUID.

    Raises:
        ValueError: the text is no GUID.
        Win32Error: the configuration manager refuses.
    """
    guid = ctypes.create_string_buffer(uuid.UUID(str(interface)).bytes_le, 16)
    for _ in range(TRIES):  # a device may arrive between the two calls
        length = DWORD(0)
        result, _ = SizeOfList.call(ctypes.addressof(length), ctypes.addressof(guid), None, PRESENT)
        if result == CR_SUCCESS:
            text = ctypes.create_unicode_buffer(length.value + 1)
            result, _ = GetList.call(
                ctypes.addressof(guid), None, ctypes.addressof(text), length.value, PRESENT
            )
        if result == CR_SUCCESS:
            listed = ctypes.wstring_at(ctypes.addressof(text), length.value)
            return [path for path in listed.split("\0") if path]
        if result != CR_BUFFER_SMALL:
            break
    raise Win32Error(ERROR_GEN_FAILURE, f"CM_Get_Device_Interface_List: CONFIGRET {result}")

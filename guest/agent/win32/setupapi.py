"""Prototypes of the exports that make and remove device nodes (setupapi.h, newdev.h, cfgmgr32.h)."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from agent.win32.binding import Function, invalid_handle, never
from agent.win32.layouts import BOOL, DWORD, HANDLE, LPCWSTR, POINTER, ULONG_PTR

DIF_REMOVE = 0x05
DIF_REGISTERDEVICE = 0x19
DICD_GENERATE_ID = 1
SPDRP_HARDWAREID = 1
INSTALLFLAG_FORCE, INSTALLFLAG_NONINTERACTIVE = 1, 4
DN_STARTED, DN_HAS_PROBLEM = 0x8, 0x400
CR_SUCCESS, CR_NO_SUCH_DEVNODE = 0, 0x0D
MAX_DEVICE_ID_LEN = 200
MAX_CLASS_NAME_LEN = 32


class DeviceInfo(ctypes.Structure):
    """SP_DEVINFO_DATA (setupapi.h), 32 bytes in a 64-bit process."""

    _fields_ = (
        ("cbSize", DWORD),
        ("ClassGuid", ctypes.c_uint8 * 16),
        ("DevInst", DWORD),
        ("Reserved", ULONG_PTR),
    )


_DLL = "setupapi"


@dataclass(frozen=True)
class DeviceInstallation:
    """The exports that are used; a test passes its own."""

    inf_class: Function
    create_list: Function
    create_info: Function
    set_property: Function
    call_installer: Function
    instance_id: Function
    destroy_list: Function
    update_driver: Function
    locate_node: Function
    node_status: Function


WINDOWS = DeviceInstallation(
    inf_class=Function(_DLL, "SetupDiGetINFClassW", BOOL, LPCWSTR, POINTER, POINTER, DWORD, POINTER),
    create_list=Function(_DLL, "SetupDiCreateDeviceInfoList", HANDLE, POINTER, HANDLE, failed=invalid_handle),
    create_info=Function(
        _DLL, "SetupDiCreateDeviceInfoW", BOOL, HANDLE, LPCWSTR, POINTER, LPCWSTR, HANDLE, DWORD, POINTER
    ),
    set_property=Function(
        _DLL, "SetupDiSetDeviceRegistryPropertyW", BOOL, HANDLE, POINTER, DWORD, POINTER, DWORD
    ),
    call_installer=Function(_DLL, "SetupDiCallClassInstaller", BOOL, DWORD, HANDLE, POINTER),
    instance_id=Function(_DLL, "SetupDiGetDeviceInstanceIdW", BOOL, HANDLE, POINTER, POINTER, DWORD, POINTER),
    destroy_list=Function(_DLL, "SetupDiDestroyDeviceInfoList", BOOL, HANDLE),
    update_driver=Function(
        "newdev", "UpdateDriverForPlugAndPlayDevicesW", BOOL, HANDLE, LPCWSTR, LPCWSTR, DWORD, POINTER
    ),
    locate_node=Function("cfgmgr32", "CM_Locate_DevNodeW", DWORD, POINTER, LPCWSTR, DWORD, failed=never),
    node_status=Function(
        "cfgmgr32", "CM_Get_DevNode_Status", DWORD, POINTER, POINTER, DWORD, DWORD, failed=never
    ),
)

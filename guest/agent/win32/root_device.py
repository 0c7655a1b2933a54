"""A root-enumerated device node (`ROOT\\...`), which a plug-and-play driver without hardware is installed on.

A node is registered with its hardware id first, then UpdateDriverForPlugAndPlayDevices gives it the driver of
an INF; Microsoft documents both. No Windows has run it for winvm yet.
"""

from __future__ import annotations

import ctypes
import ntpath
from dataclasses import dataclass
from typing import Self

from agent.errors import Win32Error
from agent.win32 import setupapi
from agent.win32.handle import Scope
from agent.win32.layouts import BOOL, DWORD, WORD
from agent.win32.setupapi import WINDOWS, DeviceInfo, DeviceInstallation

ERROR_GEN_FAILURE = 31
NOT_GONE = "is still there after its removal: Windows removes it at its next start, if a handle holds it"


@dataclass(frozen=True)
class NodeStatus:
    """What the PnP manager says of a node.

    Attributes:
        flags: `DN_...` bits of cfg.h.
        problem: `CM_PROB_...`, as Device Manager shows it: 10 for a device that did not start; 0 for none.
    """

    flags: int
    problem: int

    @property
    def started(self) -> bool:
        """Whether the driver has started the device."""
        return bool(self.flags & setupapi.DN_STARTED)


class RootDevice:
    """A device node, which is removed at the end of its `with` statement, or else of the scenario.

    Attributes:
        instance: the device instance id, such as `ROOT\\SYSTEM\\0001`; unused numbers are taken.
        restart_needed: whether Windows says that the driver works only after a restart.
    """

    def __init__(self, scope: Scope, calls: DeviceInstallation, device_list: int, info: DeviceInfo) -> None:
        self.instance = ""
        self.restart_needed = False
        self._scope = scope
        self._calls = calls
        self._list = device_list
        self._info = info
        self._registered = False

    @classmethod
    def create(
        cls, hardware_id: str, inf: str, scope: Scope, calls: DeviceInstallation = WINDOWS
    ) -> RootDevice:
        """Registers a node and installs the INF's driver on it, which calls AddDevice and starts the device.

        Args:
            hardware_id: one of the INF's models, such as `Root\\Lamp`.
            inf: the INF's full path in the guest.

        Raises:
            ValueError: the path is not a full one, or the id is none.
            Win32Error: Windows refuses; no node is left.
        """
        if not ntpath.splitdrive(inf)[0] or not ntpath.isabs(inf):
            raise ValueError(f"{inf!r} is not the full path of an INF")
        if not 0 < len(hardware_id) < setupapi.MAX_DEVICE_ID_LEN or "\0" in hardware_id:
            raise ValueError(
                f"{hardware_id[: setupapi.MAX_DEVICE_ID_LEN]!r} is no hardware id: it must have 1 to "
                f"{setupapi.MAX_DEVICE_ID_LEN - 1} characters"
            )
        guid = (ctypes.c_uint8 * 16)()
        name = (WORD * setupapi.MAX_CLASS_NAME_LEN)()
        at = ctypes.addressof(guid)
        calls.inf_class.check(f"SetupDiGetINFClass({inf})", inf, at, ctypes.addressof(name), len(name), None)
        made = calls.create_list.check("SetupDiCreateDeviceInfoList", at, None)
        node = cls(scope, calls, made, DeviceInfo(cbSize=ctypes.sizeof(DeviceInfo)))
        try:
            node._register(_text(name), at, hardware_id)
            node._install(hardware_id, inf)
        except BaseException as error:
            try:
                node.remove()
            except (Win32Error, AssertionError) as left:
                error.add_note(f"and the device node is left: {left}")
            raise
        return node

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.remove()

    @property
    def exists(self) -> bool:
        """Whether it has not been removed."""
        return self._list != 0

    def status(self) -> NodeStatus:
        """Whether it has started, and its problem; raises `Win32Error` when the node is gone."""
        flags, problem = DWORD(0), DWORD(0)
        result, _ = self._calls.node_status.call(
            ctypes.addressof(flags), ctypes.addressof(problem), self._info.DevInst, 0
        )
        if result != setupapi.CR_SUCCESS:
            raise Win32Error(ERROR_GEN_FAILURE, f"CM_Get_DevNode_Status({self.instance}): CONFIGRET {result}")
        held = problem.value if flags.value & setupapi.DN_HAS_PROBLEM else 0
        return NodeStatus(flags.value, held)

    def remove(self) -> None:
        """Stops the device and removes its node; a second call does nothing.

        The package stays in the driver store until the guest is restored.

        Raises:
            Win32Error: Windows refuses.
            AssertionError: the node is still there afterwards, because a handle to the device is open.
        """
        if not self.exists:
            return
        device_list, self._list = self._list, 0
        try:
            if self._registered:
                self._ask(setupapi.DIF_REMOVE, "DIF_REMOVE", device_list)
                node = DWORD(0)
                result, _ = self._calls.locate_node.call(ctypes.addressof(node), self.instance, 0)
                if result != setupapi.CR_NO_SUCH_DEVNODE:
                    raise AssertionError(f"{self.instance} {NOT_GONE}")
        finally:
            self._calls.destroy_list.call(device_list)

    def _register(self, class_name: str, class_guid: int, hardware_id: str) -> None:
        info = ctypes.addressof(self._info)
        self._calls.create_info.check(
            f"SetupDiCreateDeviceInfo({class_name})",
            self._list,
            class_name,
            class_guid,
            None,
            None,
            setupapi.DICD_GENERATE_ID,
            info,
        )
        ids = f"{hardware_id}\0\0".encode("utf-16-le")  # REG_MULTI_SZ
        kept = (ctypes.c_uint8 * len(ids)).from_buffer_copy(ids)
        self._calls.set_property.check(
            "SetupDiSetDeviceRegistryProperty(SPDRP_HARDWAREID)",
            self._list,
            info,
            setupapi.SPDRP_HARDWAREID,
            ctypes.addressof(kept),
            len(ids),
        )
        instance = (WORD * setupapi.MAX_DEVICE_ID_LEN)()
        self._calls.instance_id.check(
            "SetupDiGetDeviceInstanceId", self._list, info, ctypes.addressof(instance), len(instance), None
        )
        self.instance = _text(instance)
        self._ask(setupapi.DIF_REGISTERDEVICE, "DIF_REGISTERDEVICE", self._list)
        self._registered = True

    def _install(self, hardware_id: str, inf: str) -> None:
        """Without a dialog, which nobody would answer in the agent's session."""
        self._scope.record("UpdateDriverForPlugAndPlayDevices", f"{self.instance} {hardware_id} {inf}")
        restart = BOOL(0)
        self._calls.update_driver.check(
            f"UpdateDriverForPlugAndPlayDevices({hardware_id}, {inf})",
            None,
            hardware_id,
            inf,
            setupapi.INSTALLFLAG_FORCE | setupapi.INSTALLFLAG_NONINTERACTIVE,
            ctypes.addressof(restart),
        )
        self.restart_needed = bool(restart.value)

    def _ask(self, function: int, name: str, device_list: int) -> None:
        self._scope.record("SetupDiCallClassInstaller", f"{name} {self.instance}")
        self._calls.call_installer.check(
            f"SetupDiCallClassInstaller({name}, {self.instance})",
            function,
            device_list,
            ctypes.addressof(self._info),
        )


def _text(characters: ctypes.Array[ctypes.c_uint16]) -> str:
    return bytes(characters).decode("utf-16-le", "replace").partition("\0")[0]

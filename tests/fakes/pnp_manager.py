"""`FakePnp`: the exports by which device nodes are made, over a device tree that lives in this process.

It reads and writes memory through the pointers that it is given, as the DLLs do, and refuses what Microsoft's
documentation says that they refuse.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field, fields

from agent.win32 import setupapi
from agent.win32.binding import Function
from agent.win32.setupapi import WINDOWS, DeviceInfo, DeviceInstallation

FILE_NOT_FOUND, INVALID_HANDLE, INVALID_USER_BUFFER = 2, 6, 1784
NO_SUCH_DEVINST = 0xE000020B
NO_CATALOG = 0xE000022F
CLASS = bytes(range(16))
LIST = 0x5000
PROBLEM_FAILED_START = 10


@dataclass
class Node:
    """A device node; `name` is the instance id, unregistered nodes are in no tree."""

    name: str
    number: int
    ids: list[str] = field(default_factory=list)
    registered: bool = False
    driver: str = ""


class _Export(Function):
    """An export that is answered here: the answer is a Win32 code, or a value where it returns one."""

    def __init__(self, like: Function, answer: Callable[..., tuple[int, int]]) -> None:
        super().__init__(like.dll, like.name, like.restype, *like.argtypes, failed=like.failed)
        self._answer = answer

    def call(self, *arguments: object) -> tuple[int, int]:
        assert len(arguments) == len(self.argtypes), self.name
        return self._answer(*arguments)


class FakePnp:
    """A PnP manager.

    Args:
        inf: full path of the only INF there is.
        model: the hardware id that it supports.
        refused: export -> Win32 code with which it fails.
        starts: whether the driver starts its device.
        held: whether somebody holds a handle to the device, so that it outlives its removal.
        restart: what UpdateDriverForPlugAndPlayDevices says of a restart.

    Attributes:
        tree: registered nodes by instance id.
        lists: open device information sets.
    """

    def __init__(
        self,
        inf: str,
        model: str,
        *,
        refused: dict[str, int] | None = None,
        starts: bool = True,
        held: bool = False,
        restart: bool = False,
    ) -> None:
        self.inf, self.model = inf, model
        self.refused = refused or {}
        self.starts, self.held, self.restart = starts, held, restart
        self.tree: dict[str, Node] = {}
        self.lists: set[int] = set()
        self._made: list[Node] = []
        self.calls = DeviceInstallation(
            **{one.name: self._export(one.name, getattr(WINDOWS, one.name)) for one in fields(WINDOWS)}
        )

    def _export(self, name: str, real: Function) -> _Export:
        answer = getattr(self, f"_{name}")
        if name in ("create_list", "locate_node", "node_status"):
            return _Export(real, answer)

        def answered(*arguments: object) -> tuple[int, int]:
            code = self.refused.get(name, 0) or answer(*arguments)
            return int(code == 0), code

        return _Export(real, answered)

    def _inf_class(self, inf: str, guid: int, name: int, room: int, _needed: None) -> int:
        if inf != self.inf:
            return FILE_NOT_FOUND
        assert room == setupapi.MAX_CLASS_NAME_LEN
        ctypes.memmove(guid, CLASS, 16)
        _write(name, "System")
        return 0

    def _create_list(self, guid: int, _window: None) -> tuple[int, int]:
        assert ctypes.string_at(guid, 16) == CLASS
        self.lists.add(LIST)
        return LIST, 0

    def _create_info(
        self, devices: int, name: str, guid: int, _text: None, _window: None, flags: int, info: int
    ) -> int:
        assert (ctypes.string_at(guid, 16), flags) == (CLASS, setupapi.DICD_GENERATE_ID)
        if devices not in self.lists:
            return INVALID_HANDLE
        layout = DeviceInfo.from_address(info)
        if layout.cbSize != 32:
            return INVALID_USER_BUFFER
        node = Node(f"ROOT\\{name.upper()}\\{len(self._made):04}", len(self._made) + 1)
        self._made.append(node)
        layout.DevInst = node.number
        return 0

    def _set_property(self, devices: int, info: int, key: int, data: int, size: int) -> int:
        assert (devices in self.lists, key) == (True, setupapi.SPDRP_HARDWAREID)
        text = ctypes.string_at(data, size).decode("utf-16-le")
        assert text.endswith("\0\0"), "no REG_MULTI_SZ"
        self._node(info).ids = text[:-2].split("\0")
        return 0

    def _instance_id(self, devices: int, info: int, text: int, room: int, _needed: None) -> int:
        assert (devices in self.lists, room) == (True, setupapi.MAX_DEVICE_ID_LEN)
        _write(text, self._node(info).name)
        return 0

    def _call_installer(self, function: int, devices: int, info: int) -> int:
        node = self._node(info)
        if devices not in self.lists:
            return INVALID_HANDLE
        if function == setupapi.DIF_REGISTERDEVICE:
            node.registered = True
            self.tree[node.name] = node
            return 0
        assert function == setupapi.DIF_REMOVE
        assert node.registered
        if not self.held:
            del self.tree[node.name]
        return 0

    def _update_driver(self, _window: None, model: str, inf: str, flags: int, restart: int) -> int:
        assert flags == setupapi.INSTALLFLAG_FORCE | setupapi.INSTALLFLAG_NONINTERACTIVE
        found = [node for node in self.tree.values() if model in node.ids]
        if not found or model != self.model:
            return NO_SUCH_DEVINST
        for node in found:
            node.driver = inf
        ctypes.c_int32.from_address(restart).value = int(self.restart)
        return 0

    def _destroy_list(self, devices: int) -> int:
        self.lists.remove(devices)
        return 0

    def _locate_node(self, node: int, name: str, flags: int) -> tuple[int, int]:
        assert flags == 0
        ctypes.c_uint32.from_address(node).value = self.tree[name].number if name in self.tree else 0
        return (setupapi.CR_SUCCESS if name in self.tree else setupapi.CR_NO_SUCH_DEVNODE), 0

    def _node_status(self, flags: int, problem: int, number: int, _flags: int) -> tuple[int, int]:
        if number not in (node.number for node in self.tree.values()):
            return setupapi.CR_NO_SUCH_DEVNODE, 0
        found = setupapi.DN_STARTED if self.starts else setupapi.DN_HAS_PROBLEM
        ctypes.c_uint32.from_address(flags).value = found
        ctypes.c_uint32.from_address(problem).value = PROBLEM_FAILED_START
        return setupapi.CR_SUCCESS, 0

    def _node(self, info: int) -> Node:
        number: int = DeviceInfo.from_address(info).DevInst
        return self._made[number - 1]


def _write(address: int, text: str) -> None:
    content = f"{text}\0".encode("utf-16-le")
    ctypes.memmove(address, content, len(content))

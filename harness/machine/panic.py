"""Panics of one domain's guest, from QEMU's monitor: libvirt's own event of a crash carries no bugcheck code.

QEMU's GUEST_PANICKED (qapi/run-state.json) has `info` of type `hyper-v` when Windows wrote the crash
registers of the Hyper-V enlightenments: arg1 is the bugcheck code, arg2 to arg5 its parameters. Whether QEMU
stops the CPUs then depends on its `-action`; if it does not, libvirt reports a running guest as `crashed`.
"""

from __future__ import annotations

import contextlib
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import MachineError
from harness.machine.bindings import libvirt, libvirt_qemu
from harness.machine.connection import Connection, translated
from harness.machine.monitor import ask
from harness.machine.protocol import OnPanic, Panic

EVENT = "GUEST_PANICKED"


class _HyperV(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    type: str = Field(pattern="^hyper-v$")
    arg1: int
    arg2: int
    arg3: int
    arg4: int
    arg5: int


class _Details(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    info: _HyperV


def parse(details: str, time: float) -> Panic:
    """The panic that the details of a GUEST_PANICKED event describe; without a code if they have none."""
    try:
        found = _Details.model_validate_json(details).info
    except ValidationError:
        return Panic(time)
    first, *parameters = (
        argument & 0xFFFF_FFFF_FFFF_FFFF
        for argument in (found.arg1, found.arg2, found.arg3, found.arg4, found.arg5)
    )
    return Panic(time, first & 0xFFFF_FFFF, tuple(parameters))


def runs(domain: Any) -> bool:
    """Whether QEMU reports that the CPUs run; False if QEMU does not answer."""
    with contextlib.suppress(libvirt.libvirtError, MachineError):
        return bool(ask(domain, "query-status")["running"])
    return False


class PanicEvents:
    """Passes on the panics of the domain called `name`, also of domains made later under that name."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._api: Any = None
        self._id = -1
        self.listener: OnPanic | None = None
        self.listen()

    def listen(self) -> None:
        """Registers with libvirt; registers again after its daemon was restarted."""
        api = self._connection.api
        if api is not self._api:
            with translated("Listening for QEMU's panic event"):
                self._id = libvirt_qemu.qemuMonitorEventRegister(api, None, EVENT, self._on_event, None, 0)
            self._api = api

    def close(self) -> None:
        """Stops listening; never raises."""
        with contextlib.suppress(libvirt.libvirtError):
            libvirt_qemu.qemuMonitorEventDeregister(self._api, self._id)

    def _on_event(
        self, _api: Any, domain: Any, _event: str, seconds: int, micros: int, details: str, _opaque: None
    ) -> None:
        if self.listener and domain.name() == self._name:
            self.listener(parse(details or "", seconds + micros / 1e6))

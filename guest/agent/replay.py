"""Issues journalled operations again, one after another, without the scenario that issued them first.

The input is a list of `[operation, call]` from the journal. Only calls on devices are issued: the journal has
no `call` for hostile pointers, long inputs, services and second processes. A failing operation does not stop
the replay, because the driver has seen it as well. An operation is left out if its handle did not open, or if
the list does not open it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from agent.errors import Win32Error
from agent.win32.device import Device
from agent.win32.handle import UNWINDING, Call
from agent.win32.overlapped import Pending

Recorded = tuple[str, Call]


class Opener(Protocol):
    """The part of `agent.operations.Operations` that a replay uses."""

    def open(self, link: str, *, access: int, share: int, overlapped: bool) -> Device:
        """Opens a device; raises `Win32Error`."""


def replay(operations: Sequence[Recorded], linger_s: float, scope: Opener) -> int:
    """Issues the operations; devices that are open at the end stay open for `linger_s` seconds.

    Returns:
        How many operations were issued.

    Raises:
        KeyError, ValueError: the list holds an operation that the journal never writes.
    """
    devices: dict[int, Device] = {}
    pending: list[Pending] = []  # overlapped operations live until the end
    issued = 0
    for operation, call in operations:
        if operation == "CreateFile":
            device = None
        elif (device := devices.get(call["on"])) is None:
            continue
        issued += 1
        try:
            if device is None:
                devices[call["opens"]] = scope.open(
                    call["path"], access=call["access"], share=call["share"], overlapped=call["overlapped"]
                )
            else:
                pending += _issue(device, operation, call)
        except (Win32Error, AssertionError):  # an answer of the driver, or a byte count it got wrong
            continue
    time.sleep(linger_s)
    return issued


def _issue(device: Device, operation: str, call: Call) -> list[Pending]:
    """Issues one operation on an open device; returns the overlapped operations that it left pending."""
    overlapped = device.overlapped
    if operation == "DeviceIoControl":
        data = bytes.fromhex(call["in"])
        if overlapped:
            return [device.ioctl_async(call["code"], data, call["out"])]
        if "into" in call:
            device.ioctl_into(call["code"], data, bytearray.fromhex(call["into"]))
        else:
            device.ioctl(call["code"], data, call["out"])
    elif operation == "ReadFile":
        if overlapped:
            return [device.read_async(call["length"])]
        device.read(call["length"])
    elif operation == "WriteFile":
        data = bytes.fromhex(call["in"])
        if overlapped:
            return [device.write_async(data)]
        device.write(data)
    elif operation in ("CloseHandle", UNWINDING):
        device.close()
    elif operation == "CancelIo":
        device.cancel_io()
    elif operation == "CancelIoEx":
        device.cancel_io_ex()
    else:
        raise ValueError(f"{operation} is not an operation of a replay")
    return []

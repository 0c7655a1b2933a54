"""IRPs that a driver took and has not completed, in the memory of the process in which its kernel runs.

Wine keeps a driver's objects on the heap of winedevice.exe, at addresses that nothing names. They are found
by what must be in them (wdm.h: DRIVER_OBJECT, DEVICE_OBJECT, IRP, IO_STACK_LOCATION): the driver object by
its DriverStart, an IRP by the device object in its current stack location.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterable, Iterator

from harness.dumps.kernel.irp import MAJOR_FUNCTIONS, MAX_LOCATIONS, function_name
from harness.dumps.kernel.view import KernelView
from harness.dumps.record import record

MAX_DEVICES, MAX_IRPS = 64, 16
_IRP = 6
_DEVICE, _DRIVER = (3, 0), (4, 0)
"""Types of objects; Wine leaves them 0."""
_CONTROLS = ("IRP_MJ_DEVICE_CONTROL", "IRP_MJ_INTERNAL_DEVICE_CONTROL")


@record
class HeldIrp:
    """An IRP that is not completed.

    function: such as `IRP_MJ_READ`. code: the control code of a control. device: address of its device.
    routine: address of the driver's routine for it, from the driver object's MajorFunction table.
    """

    address: int
    major: int
    function: str
    code: int | None
    device: int
    routine: int


class ProcessMemory:
    """Parts of a process's memory; implements `VirtualMemory`.

    Args:
        parts: (address, content), without overlaps.
    """

    def __init__(self, parts: Iterable[tuple[int, bytes]]) -> None:
        self._parts = sorted(parts, key=lambda part: part[0])
        self._starts = [start for start, _ in self._parts]

    def read(self, address: int, size: int) -> bytes:
        """See `VirtualMemory`."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0:
            return b""
        start, content = self._parts[index]
        return content[address - start : address - start + size]

    def pointers_to(self, target: int) -> Iterator[int]:
        """Addresses of the aligned 64-bit words that hold `target`."""
        wanted = struct.pack("<Q", target)
        for start, content in self._parts:
            at = content.find(wanted)
            while at >= 0:
                if (start + at) % 8 == 0:
                    yield start + at
                at = content.find(wanted, at + 1)


def driver_object(memory: ProcessMemory, base: int) -> int | None:
    """Address of the driver object whose DriverStart is `base`; None if there is none."""
    view = KernelView(memory, b"", 0, None)
    start = view.offset("_DRIVER_OBJECT", "DriverStart") or 0
    size = view.offset("_DRIVER_OBJECT")
    for at in memory.pointers_to(base):
        found = at - start
        kind, length = view.number(found, 2), view.number(found + 2, 2)
        if kind in _DRIVER and length == size:
            return found
    return None


def held_irps(memory: ProcessMemory, driver: int) -> tuple[HeldIrp, ...]:
    """IRPs on the devices of a driver object, at most `MAX_IRPS`, by address."""
    view = KernelView(memory, b"", 0, None)
    found = {
        irp.address: irp for device in _devices(view, driver) for irp in _irps(view, memory, device, driver)
    }
    return tuple(found[address] for address in sorted(found))[:MAX_IRPS]


def _devices(view: KernelView, driver: int) -> list[int]:
    found: list[int] = []
    device = view.field(driver, "_DRIVER_OBJECT", "DeviceObject")
    while device and device not in found and len(found) < MAX_DEVICES:
        kind = view.field(device, "_DEVICE_OBJECT", "Type", 2)
        if kind not in _DEVICE or view.field(device, "_DEVICE_OBJECT", "DriverObject") != driver:
            break
        found.append(device)
        device = view.field(device, "_DEVICE_OBJECT", "NextDevice")
    return found


def _irps(view: KernelView, memory: ProcessMemory, device: int, driver: int) -> Iterator[HeldIrp]:
    in_location = view.offset("_IO_STACK_LOCATION", "DeviceObject") or 0
    for count, at in enumerate(memory.pointers_to(device)):
        if count >= 4096:
            return
        location = at - in_location
        irp = _irp_of(view, location)
        major = view.field(location, "_IO_STACK_LOCATION", "MajorFunction", 1)
        if irp is None or major is None or major >= len(MAJOR_FUNCTIONS):
            continue
        function = function_name(major, 0).partition(",")[0]
        table = driver + (view.offset("_DRIVER_OBJECT", "MajorFunction") or 0)
        code = view.field(location, "_IO_STACK_LOCATION", "IoControlCode", 4)
        yield HeldIrp(
            address=irp,
            major=major,
            function=function,
            code=code if function in _CONTROLS else None,
            device=device,
            routine=view.number(table + 8 * major) or 0,
        )


def _irp_of(view: KernelView, location: int) -> int | None:
    """The IRP whose current stack location this is; None for the stack location of a completed one."""
    own, size = view.offset("_IRP") or 0, view.offset("_IO_STACK_LOCATION") or 0
    for number in range(1, MAX_LOCATIONS + 1):
        irp = location - own - size * (number - 1)
        if view.field(irp, "_IRP", "Type", 2) != _IRP:
            continue
        count = view.field(irp, "_IRP", "StackCount", 1) or 0
        fits = (
            number <= count <= MAX_LOCATIONS
            and view.field(irp, "_IRP", "Size", 2) == own + size * count
            and view.field(irp, "_IRP", "CurrentLocation", 1) == number
            and view.field(irp, "_IRP", "CurrentStackLocation") == location
        )
        if fits:
            return irp
    return None

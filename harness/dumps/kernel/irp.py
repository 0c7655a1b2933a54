"""An IRP and its stack locations: which driver has it, and for what (wdm.h: IRP, DEVICE_OBJECT)."""

from __future__ import annotations

from harness.dumps.facts import Irp, IrpLocation
from harness.dumps.kernel.view import KernelView

MAX_LOCATIONS = 64
_IRP, _DEVICE, _DRIVER = 6, 3, 4
_THREAD_IN_TAIL = 0x20
_NAME_INFO = 2
MAJOR_FUNCTIONS = (
    *("CREATE", "CREATE_NAMED_PIPE", "CLOSE", "READ", "WRITE", "QUERY_INFORMATION", "SET_INFORMATION"),
    *("QUERY_EA", "SET_EA", "FLUSH_BUFFERS", "QUERY_VOLUME_INFORMATION", "SET_VOLUME_INFORMATION"),
    *("DIRECTORY_CONTROL", "FILE_SYSTEM_CONTROL", "DEVICE_CONTROL", "INTERNAL_DEVICE_CONTROL", "SHUTDOWN"),
    *("LOCK_CONTROL", "CLEANUP", "CREATE_MAILSLOT", "QUERY_SECURITY", "SET_SECURITY", "POWER"),
    *("SYSTEM_CONTROL", "DEVICE_CHANGE", "QUERY_QUOTA", "SET_QUOTA", "PNP"),
)
_POWER = ("WAIT_WAKE", "POWER_SEQUENCE", "SET_POWER", "QUERY_POWER")
_PNP = (
    *("START_DEVICE", "QUERY_REMOVE_DEVICE", "REMOVE_DEVICE", "CANCEL_REMOVE_DEVICE", "STOP_DEVICE"),
    *("QUERY_STOP_DEVICE", "CANCEL_STOP_DEVICE", "QUERY_DEVICE_RELATIONS", "QUERY_INTERFACE"),
    *("QUERY_CAPABILITIES", "QUERY_RESOURCES", "QUERY_RESOURCE_REQUIREMENTS", "QUERY_DEVICE_TEXT"),
)


def read_irp(view: KernelView, address: int) -> Irp | None:
    """The IRP at an address; None when there is none, or none any more."""
    size, own = view.offset("_IO_STACK_LOCATION"), view.offset("_IRP")
    if view.field(address, "_IRP", "Type", 2) != _IRP or not size or not own:
        return None
    count, current = (view.field(address, "_IRP", name, 1) for name in ("StackCount", "CurrentLocation"))
    if count is None or current is None or not 0 < count <= MAX_LOCATIONS or current > count + 2:
        return None
    tail = view.offset("_IRP", "Tail") or 0
    locations = []
    for number in range(1, count + 1):
        found = _location(view, address + own + size * (number - 1), number, current)
        if found is not None:
            locations.append(found)
    return Irp(
        address=address,
        status=view.field(address, "_IRP", "IoStatus", 4) or 0,
        count=count,
        current=current,
        thread=view.number(address + tail + _THREAD_IN_TAIL) or 0,
        locations=tuple(locations),
        layout=view.layout("_IRP"),
    )


def _location(view: KernelView, at: int, number: int, current: int) -> IrpLocation | None:
    """A stack location; None for one that no driver used."""
    major, minor = (
        view.field(at, "_IO_STACK_LOCATION", name, 1) for name in ("MajorFunction", "MinorFunction")
    )
    device = view.field(at, "_IO_STACK_LOCATION", "DeviceObject")
    completion = view.field(at, "_IO_STACK_LOCATION", "CompletionRoutine") or 0
    if major is None or minor is None or (not device and not completion and number != current):
        return None
    driver, name = device_names(view, device or 0)
    return IrpLocation(
        number, number == current, function_name(major, minor), device or 0, driver, name, completion
    )


def function_name(major: int, minor: int) -> str:
    """Such as `IRP_MJ_POWER, IRP_MN_SET_POWER`."""
    name = (
        f"IRP_MJ_{MAJOR_FUNCTIONS[major]}" if major < len(MAJOR_FUNCTIONS) else f"major function {major:#x}"
    )
    minors = {"IRP_MJ_POWER": _POWER, "IRP_MJ_PNP": _PNP}.get(name)
    if minors is not None:
        name += f", IRP_MN_{minors[minor]}" if minor < len(minors) else f", minor function {minor:#x}"
    return name


def device_names(view: KernelView, device: int) -> tuple[str, str]:
    """Names of a device object's driver and of the device object; empty where they are not in the dump."""
    if not device or view.field(device, "_DEVICE_OBJECT", "Type", 2) != _DEVICE:
        return "", ""
    driver = view.field(device, "_DEVICE_OBJECT", "DriverObject") or 0
    name = ""
    if driver and view.field(driver, "_DRIVER_OBJECT", "Type", 2) == _DRIVER:
        name = view.unicode_string(driver + (view.offset("_DRIVER_OBJECT", "DriverName") or 0))
    return name, _object_name(view, device)


def _object_name(view: KernelView, body: int) -> str:
    """The name that the object manager keeps in front of an object; it needs the kernel's PDB."""
    pdb = view.pdb
    own, mask_at = (pdb.member("_OBJECT_HEADER", name) if pdb else None for name in ("Body", "InfoMask"))
    if own is None or mask_at is None:
        view.need("names of device objects")
        return ""
    mask = view.number(body - own + mask_at, 1)
    name_size = pdb.size("_OBJECT_HEADER_NAME_INFO") if pdb else None
    name_at = pdb.member("_OBJECT_HEADER_NAME_INFO", "Name") if pdb else None
    if mask is None or not mask & _NAME_INFO or name_size is None or name_at is None:
        return ""
    creator = (pdb.size("_OBJECT_HEADER_CREATOR_INFO") or 0) if pdb and mask & 1 else 0
    return view.unicode_string(body - own - creator - name_size + name_at)

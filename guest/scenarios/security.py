"""Access checks: which user may open which device, with which access, and what each device refuses."""

from __future__ import annotations

from agent import Context, ServiceManager, Win32Error, equal, raises_ntstatus, raises_win32, scenario
from agent.win32 import constants
from scenarios import registers
from scenarios.lifecycle import LINKS
from scenarios.readwrite import open_exclusive

WRITE_DAC = 0x40000


@scenario(cases=LINKS)
def foreign_codes_are_refused(t: Context, link: str) -> None:
    """A device refuses control codes that are not its own with invalid function, whatever their method."""
    with open_exclusive(t) if link == "LySharkDriver" else t.open(link) as device:
        for code in (0x223FFC, 0x223FFD, 0x223FFE, 0x223FFF):  # function 0xFFF by each transfer type
            with raises_win32(constants.ERROR_INVALID_FUNCTION):
                device.ioctl(code, b"\xff" * 64, 64)


@scenario(tags=("smoke",))
def read_only_handle_cannot_write(t: Context) -> None:
    """A handle opened for reading is refused a write before the driver sees it, and still reads."""
    with t.open(registers.LINK) as device:
        registers.set_register(device, 1, 8)
        with t.open(registers.LINK, access=constants.GENERIC_READ) as reader:
            with raises_win32(constants.ERROR_ACCESS_DENIED):
                reader.write(b"\xff\xff\xff\xff")
            equal(reader.read(4), registers.pack(8), "a read through the read-only handle")
        equal(registers.get_register(device, 1), 8, "register 1")


@scenario
def write_only_handle_cannot_read(t: Context) -> None:
    """A handle opened for writing is refused a read before the driver sees it, and still writes."""
    with t.open(registers.LINK, access=constants.GENERIC_WRITE) as writer:
        with raises_win32(constants.ERROR_ACCESS_DENIED):
            writer.read(4)
        equal(writer.write(registers.pack(9)), 4, "bytes written")
        equal(registers.get_register(writer, 1), 9, "register 1")


@scenario
def closed_handle_is_refused(t: Context) -> None:
    """Requests on a handle that was closed fail as invalid handle."""
    device = t.open(registers.LINK)
    device.close()
    with raises_win32(constants.ERROR_INVALID_HANDLE):
        device.read(4)
    with raises_win32(constants.ERROR_INVALID_HANDLE):
        device.ioctl(registers.GET[1], out=4)


@scenario(cases={"below": "below", "two_levels": "a\\b", "digit": "1"})
def no_names_below_a_device(t: Context, name: str) -> None:
    """A name below a device opens nothing usable: the driver has no namespace of its own."""
    try:
        with t.open(f"\\\\.\\{registers.LINK}\\{name}") as device:
            # Wine opens it whatever the driver answers; the driver then refuses every request on the handle.
            with raises_win32(constants.ERROR_INVALID_HANDLE):
                device.ioctl(registers.GET[1], out=4)
            equal(t.has("exclusive-device"), False, "whether Windows opened the name")
    except Win32Error as error:
        equal(error.code, constants.ERROR_FILE_NOT_FOUND, "error of the open")
    with t.open(registers.LINK) as device:
        registers.still_works(device)


@scenario
def device_names_open_natively(t: Context) -> None:
    """The object names \\Device\\NAME and \\??\\LINK open the same device; a wrong name opens none."""
    for path in ("\\Device\\CR42", "\\??\\CR42VirtualRegister", "\\device\\cr42"):
        with t.open_native(path) as device, t.memory(4) as memory:
            equal(device.ioctl(registers.GET[1], 0, 0, memory.address, 4).status, 0, f"GET through {path}")
    with raises_ntstatus(constants.STATUS_OBJECT_NAME_NOT_FOUND):
        t.open_native("\\Device\\CR43")


@scenario(needs=("exclusive-device",), cases={"read_write": constants.READ_WRITE, "attributes": 0})
def kernel_keeps_it_exclusive(t: Context, access: int) -> None:
    """The system itself refuses a second open of LySharkDriver, by either name and with any access."""
    with open_exclusive(t):
        with raises_win32(constants.ERROR_ACCESS_DENIED):
            t.open("LySharkDriver", access=access)
        with raises_ntstatus(constants.STATUS_ACCESS_DENIED):
            t.open_native("\\Device\\LySharkDriver", access=access)


@scenario(needs=("restricted-user",), cases=LINKS)
def ordinary_user_is_admitted(t: Context, link: str) -> None:
    """A user without administrator rights opens each ordinary device, and may not change its security."""
    with t.restricted_user():
        t.open(link).close()
        with raises_win32(constants.ERROR_ACCESS_DENIED):
            t.open(link, access=constants.READ_WRITE | WRITE_DAC)


@scenario(needs=("restricted-user",))
def ordinary_user_cannot_control_the_service(t: Context) -> None:
    """A user without administrator rights cannot open the service control manager for changes."""
    with t.restricted_user(), raises_win32(constants.ERROR_ACCESS_DENIED), ServiceManager(t):
        raise AssertionError("the service control manager opened")


@scenario(needs=("restricted-user",), build="fault")
def ordinary_user_cannot_open_the_fault_device(t: Context) -> None:
    """The fault device admits administrators only."""
    with t.restricted_user(), raises_win32(constants.ERROR_ACCESS_DENIED):
        t.open("WinvmFault")
    t.open("WinvmFault").close()

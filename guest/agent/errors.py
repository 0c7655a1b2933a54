"""Errors a scenario can meet: a Win32 call or a native call that failed, a wait that ran out, a skip.

Code names are those of winerror.h and ntstatus.h; only the ones a driver scenario meets are listed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

WIN32_NAMES: dict[int, str] = {
    0: "ERROR_SUCCESS",
    1: "ERROR_INVALID_FUNCTION",
    2: "ERROR_FILE_NOT_FOUND",
    3: "ERROR_PATH_NOT_FOUND",
    5: "ERROR_ACCESS_DENIED",
    6: "ERROR_INVALID_HANDLE",
    8: "ERROR_NOT_ENOUGH_MEMORY",
    21: "ERROR_NOT_READY",
    22: "ERROR_BAD_COMMAND",
    24: "ERROR_BAD_LENGTH",
    31: "ERROR_GEN_FAILURE",
    32: "ERROR_SHARING_VIOLATION",
    38: "ERROR_HANDLE_EOF",
    50: "ERROR_NOT_SUPPORTED",
    80: "ERROR_FILE_EXISTS",
    87: "ERROR_INVALID_PARAMETER",
    109: "ERROR_BROKEN_PIPE",
    122: "ERROR_INSUFFICIENT_BUFFER",
    127: "ERROR_PROC_NOT_FOUND",
    170: "ERROR_BUSY",
    183: "ERROR_ALREADY_EXISTS",
    193: "ERROR_BAD_EXE_FORMAT",
    231: "ERROR_PIPE_BUSY",
    234: "ERROR_MORE_DATA",
    258: "WAIT_TIMEOUT",
    259: "ERROR_NO_MORE_ITEMS",
    433: "ERROR_NO_SUCH_DEVICE",
    487: "ERROR_INVALID_ADDRESS",
    577: "ERROR_INVALID_IMAGE_HASH",
    995: "ERROR_OPERATION_ABORTED",
    996: "ERROR_IO_INCOMPLETE",
    997: "ERROR_IO_PENDING",
    998: "ERROR_NOACCESS",
    1051: "ERROR_DEPENDENT_SERVICES_RUNNING",
    1053: "ERROR_SERVICE_REQUEST_TIMEOUT",
    1055: "ERROR_SERVICE_DATABASE_LOCKED",
    1056: "ERROR_SERVICE_ALREADY_RUNNING",
    1058: "ERROR_SERVICE_DISABLED",
    1060: "ERROR_SERVICE_DOES_NOT_EXIST",
    1061: "ERROR_SERVICE_CANNOT_ACCEPT_CTRL",
    1062: "ERROR_SERVICE_NOT_ACTIVE",
    1066: "ERROR_SERVICE_SPECIFIC_ERROR",
    1067: "ERROR_PROCESS_ABORTED",
    1072: "ERROR_SERVICE_MARKED_FOR_DELETE",
    1073: "ERROR_SERVICE_EXISTS",
    1077: "ERROR_SERVICE_NEVER_STARTED",
    1078: "ERROR_DUPLICATE_SERVICE_NAME",
    1114: "ERROR_DLL_INIT_FAILED",
    1117: "ERROR_IO_DEVICE",
    1168: "ERROR_NOT_FOUND",
    1275: "ERROR_DRIVER_BLOCKED",
    1314: "ERROR_PRIVILEGE_NOT_HELD",
    1450: "ERROR_NO_SYSTEM_RESOURCES",
    1784: "ERROR_INVALID_USER_BUFFER",
}

NTSTATUS_NAMES: dict[int, str] = {
    0x00000000: "STATUS_SUCCESS",
    0x00000102: "STATUS_TIMEOUT",
    0x00000103: "STATUS_PENDING",
    0x80000002: "STATUS_DATATYPE_MISALIGNMENT",
    0x80000005: "STATUS_BUFFER_OVERFLOW",
    0xC0000001: "STATUS_UNSUCCESSFUL",
    0xC0000002: "STATUS_NOT_IMPLEMENTED",
    0xC0000004: "STATUS_INFO_LENGTH_MISMATCH",
    0xC0000005: "STATUS_ACCESS_VIOLATION",
    0xC0000008: "STATUS_INVALID_HANDLE",
    0xC000000D: "STATUS_INVALID_PARAMETER",
    0xC000000E: "STATUS_NO_SUCH_DEVICE",
    0xC0000010: "STATUS_INVALID_DEVICE_REQUEST",
    0xC0000011: "STATUS_END_OF_FILE",
    0xC0000022: "STATUS_ACCESS_DENIED",
    0xC0000023: "STATUS_BUFFER_TOO_SMALL",
    0xC0000024: "STATUS_OBJECT_TYPE_MISMATCH",
    0xC0000034: "STATUS_OBJECT_NAME_NOT_FOUND",
    0xC000003A: "STATUS_OBJECT_PATH_NOT_FOUND",
    0xC0000043: "STATUS_SHARING_VIOLATION",
    0xC000009A: "STATUS_INSUFFICIENT_RESOURCES",
    0xC00000A3: "STATUS_DEVICE_NOT_READY",
    0xC00000BB: "STATUS_NOT_SUPPORTED",
    0xC00000E8: "STATUS_INVALID_USER_BUFFER",
    0xC0000120: "STATUS_CANCELLED",
    0xC0000206: "STATUS_INVALID_BUFFER_SIZE",
}


def system_text(code: int, format_error: Callable[[int], str] | None = None) -> str:
    """The system's message for a Win32 error code; empty on other systems than Windows.

    Args:
        format_error: by default `ctypes.FormatError`, which takes a signed 32-bit number alone.
    """
    if format_error is None:
        if sys.platform != "win32":
            return ""
        import ctypes

        format_error = ctypes.FormatError
    return format_error(code - (1 << 32) if code >> 31 else code).strip()


class Win32Error(Exception):
    """A Win32 call failed.

    Attributes:
        code: GetLastError(), unsigned; may be a driver's own NTSTATUS such as 0xE0000001.
        operation: the call and what it was made on.
        output: what an operation on a device delivered although it failed, as with ERROR_MORE_DATA.
        count: bytes that the driver reported.
        limit: which limit of this guest made the call fail before a driver saw it; empty if none is known.
            A scenario that does not catch such an error is skipped.
    """

    def __init__(
        self, code: int, operation: str, output: bytes = b"", count: int = 0, limit: str = ""
    ) -> None:
        self.code = code & 0xFFFFFFFF
        self.operation = operation
        self.output = output
        self.count = count
        self.limit = limit
        self.name = WIN32_NAMES.get(self.code, "")
        number = f"{self.code}" if self.code < 0x80000000 else f"{self.code:#010x}"
        shown = f"{self.name} ({number})" if self.name else f"error {number}"
        super().__init__(": ".join(part for part in (operation, shown, system_text(self.code)) if part))


class NtStatusError(Exception):
    """A native call failed. `status` is the unsigned NTSTATUS."""

    def __init__(self, status: int, operation: str) -> None:
        self.status = status & 0xFFFFFFFF
        self.operation = operation
        self.name = NTSTATUS_NAMES.get(self.status, "")
        super().__init__(f"{operation}: {f'{self.name} ' if self.name else ''}(0x{self.status:08X})")


class WaitTimeoutError(AssertionError):
    """The scenario waited for something that did not happen in time; its outcome is `failed`."""

    def __init__(self, what: str, seconds: float) -> None:
        self.seconds = seconds
        super().__init__(f"{what} did not happen within {seconds:.3g} s")


class ChildError(Exception):
    """A second process ended or raised while its scenario waited for it; a note carries its traceback."""


class SkipScenario(Exception):  # noqa: N818  not an error: ends a scenario that cannot run on this guest
    """Raised by `Context.skip`; the scenario's outcome is `skipped` with this reason."""


class RegistryError(Exception):
    """A scenario module is invalid; carries the file and line of the mistake."""

    def __init__(self, message: str, file: str = "", line: int = 0) -> None:
        super().__init__(message)
        self.file = file
        self.line = line

"""The native I/O calls: any pointer, any length, the driver's own NTSTATUS and Information.

Unlike kernel32's calls, they do not clear the byte count or turn a status into a Win32 code.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Self

from agent.control_code import shown_code
from agent.win32 import kernel32, ntdll
from agent.win32.binding import Function, check_status
from agent.win32.constants import SYNCHRONIZE
from agent.win32.handle import Handle, Scope
from agent.win32.layouts import HANDLE, IoStatusBlock, ObjectAttributes, UnicodeString

FILE_OPEN = 1
FILE_SYNCHRONOUS_IO_NONALERT = 0x20
OBJ_CASE_INSENSITIVE = 0x40
GENERIC_READ_WRITE = 0xC0000000


@dataclass(frozen=True)
class NativeResult:
    """The status that the call returned, and the driver's I/O status block."""

    status: int
    block_status: int
    information: int


class NativeDevice(Handle):
    """A device opened by NtCreateFile for synchronous I/O. Its calls return a failing status and do not
    raise it, because hostile tests check the status.
    """

    @classmethod
    def open(cls, path: str, scope: Scope, *, access: int = GENERIC_READ_WRITE, share: int = 3) -> Self:
        """Opens an object path such as `\\??\\CR42VirtualRegister` or `\\Device\\CR42`.

        Raises:
            NtStatusError: it cannot be opened.
        """
        text = ctypes.create_unicode_buffer(path)
        length = 2 * len(path)
        name = UnicodeString(length, length + 2, ctypes.cast(text, ctypes.c_wchar_p))
        attributes = ObjectAttributes(
            ctypes.sizeof(ObjectAttributes), None, ctypes.pointer(name), OBJ_CASE_INSENSITIVE, None, None
        )
        handle = HANDLE()
        block = IoStatusBlock()
        scope.record("NtCreateFile", f"{path} access=0x{access:X}")
        status, _ = ntdll.NtCreateFile.call(
            ctypes.addressof(handle),
            access | SYNCHRONIZE,
            ctypes.addressof(attributes),
            ctypes.addressof(block),
            None,
            0,
            share,
            FILE_OPEN,
            FILE_SYNCHRONOUS_IO_NONALERT,
            None,
            0,
        )
        check_status(status, f"NtCreateFile({path})")
        return cls(handle.value or 0, path, scope)

    def ioctl(
        self, code: int, in_address: int, in_length: int, out_address: int, out_length: int
    ) -> NativeResult:
        """NtDeviceIoControlFile with exactly these pointers (0 is NULL) and lengths."""
        self._scope.record(
            "NtDeviceIoControlFile", f"{self.name} code={shown_code(code)} in={in_length} out={out_length}"
        )
        block = IoStatusBlock()
        status, _ = ntdll.NtDeviceIoControlFile.call(
            self.value,
            None,
            None,
            None,
            ctypes.addressof(block),
            code,
            in_address or None,
            in_length,
            out_address or None,
            out_length,
        )
        return NativeResult(status, block.Status, block.Information)

    def read(self, address: int, length: int) -> NativeResult:
        """NtReadFile into `address`."""
        return self._transfer(ntdll.NtReadFile, address, length)

    def write(self, address: int, length: int) -> NativeResult:
        """NtWriteFile from `address`."""
        return self._transfer(ntdll.NtWriteFile, address, length)

    def _transfer(self, function: Function, address: int, length: int) -> NativeResult:
        self._scope.record(function.name, f"{self.name} {length}")
        block = IoStatusBlock()
        status, _ = function.call(
            self.value, None, None, None, ctypes.addressof(block), address or None, length, None, None
        )
        return NativeResult(status, block.Status, block.Information)


def current_process() -> int:
    """The pseudo handle of this process."""
    return kernel32.GetCurrentProcess.check("GetCurrentProcess")

"""`Device`: an open symbolic link of a driver; read, write and control with bytes in and bytes out.

Every operation is journalled before it is issued. Returned data is exactly as long as the byte count that the
driver reported. If the driver reports more bytes than the buffer has, the scenario fails.
"""

from __future__ import annotations

import ctypes
import itertools
from typing import TypeVar

from agent.control_code import shown_code
from agent.errors import Win32Error
from agent.win32 import constants, kernel32, wine_limits
from agent.win32.binding import Function
from agent.win32.buffers import Buffer, Data, input_buffer, output_buffer, require_room, require_taken
from agent.win32.handle import Call, Handle, Scope
from agent.win32.layouts import DWORD
from agent.win32.overlapped import Pending

StructureT = TypeVar("StructureT", bound=ctypes.Structure)

MAX_JOURNALLED = 1024  # bytes of input; longer input is not journalled, and its operation is not replayed
_numbers = itertools.count(1)


def win32_path(name: str) -> str:
    """The path by which CreateFile opens a device.

    `Name`, `\\DosDevices\\Name` and `\\??\\Name` mean `\\\\.\\Name`; an object path such as `\\Device\\Name`
    is reached through `\\\\?\\GLOBALROOT`; any other full path is taken as it is.
    """
    if name.startswith("\\\\") or ":" in name:
        return name
    for prefix in ("\\DosDevices\\", "\\??\\", "\\GLOBAL??\\"):
        if name.lower().startswith(prefix.lower()):
            return f"\\\\.\\{name[len(prefix) :]}"
    return f"\\\\?\\GLOBALROOT{name}" if name.startswith("\\") else f"\\\\.\\{name}"


class Device(Handle):
    """An open device. Opened by `Context.open`; close it by leaving its `with` block.

    The synchronous calls need a device opened without `overlapped`, the `_async` calls one opened with it.
    All raise `Win32Error` with the code of GetLastError.
    """

    @classmethod
    def open(
        cls,
        link: str,
        scope: Scope,
        *,
        access: int = constants.READ_WRITE,
        share: int = constants.FILE_SHARE_ALL,
        overlapped: bool = False,
        disposition: int = constants.OPEN_EXISTING,
    ) -> Device:
        """Opens a device by any of its names, see `win32_path`."""
        path = win32_path(link)
        flags = constants.FILE_FLAG_OVERLAPPED if overlapped else 0
        number = next(_numbers)
        call: Call | None = None
        if disposition == constants.OPEN_EXISTING:
            call = {"opens": number, "path": path, "access": access, "share": share, "overlapped": overlapped}
        scope.record("CreateFile", f"{path} access=0x{access:X} share={share} flags=0x{flags:X}", call)
        try:
            value = kernel32.CreateFileW.check(
                f"CreateFile({path})", path, access, share, None, disposition, flags, None
            )
        except Win32Error as error:
            error.limit = wine_limits.open_limit(path)
            raise
        return cls(value, link, scope, number, overlapped=overlapped)

    def __init__(
        self, value: int, name: str, scope: Scope, number: int = 0, *, overlapped: bool = False
    ) -> None:
        super().__init__(value, name, scope, number)
        self.overlapped = overlapped

    def read(self, size: int) -> bytes:
        """Reads up to `size` bytes; `b""` at the end of data."""
        buffer = output_buffer(size)
        address = ctypes.addressof(buffer) if buffer else 0
        return self._taken(buffer, self._read(address, size, {"on": self.number, "length": size}), size)

    def write(self, data: Data) -> int:
        """Writes `data`; returns the byte count the driver reported, which must not be above the length."""
        buffer, length = input_buffer(data)
        count = self._write(ctypes.addressof(buffer) if buffer else 0, length, self._with_input(buffer))
        require_taken(self.name, count, length)
        return count

    def ioctl(self, code: int, data: Data = b"", out: int = 0) -> bytes:
        """Sends a control code with `data` as input and room for `out` bytes; returns the output."""
        source, length = input_buffer(data)
        buffer = output_buffer(out)
        count = self._control(
            code,
            ctypes.addressof(source) if source else 0,
            length,
            ctypes.addressof(buffer) if buffer else 0,
            out,
            self._with_input(source, code=code, out=out),
        )
        return self._taken(buffer, count, out)

    def ioctl_struct(self, code: int, answer: type[StructureT], data: Data = b"") -> StructureT:
        """As `ioctl`, with room for one `answer` structure, which the driver must fill completely."""
        size = ctypes.sizeof(answer)
        output = self.ioctl(code, data, size)
        if len(output) != size:
            raise AssertionError(
                f"{self._named(code)} returned {len(output)} bytes; {answer.__name__} has {size}"
            )
        return answer.from_buffer_copy(output)

    def ioctl_into(self, code: int, data: Data, buffer: bytearray) -> int:
        """As `ioctl`, with `buffer` as the output buffer; the driver can read the bytes in it.

        METHOD_IN_DIRECT needs this: its "output" buffer carries input. Afterwards `buffer` holds what the
        driver left there. Returns the byte count that the driver reported.
        """
        source, length = input_buffer(data)
        window = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        address = ctypes.addressof(window) if buffer else 0
        call = None
        if len(buffer) <= MAX_JOURNALLED:
            call = self._with_input(source, code=code, into=buffer.hex())
        source_address = ctypes.addressof(source) if source else 0
        count = self._control(code, source_address, length, address, len(buffer), call)
        require_room(self._named(code), count, len(buffer))
        return count

    def ioctl_raw(self, code: int, in_address: int, in_length: int, out_address: int, out_length: int) -> int:
        """DeviceIoControl with any pointers (0 is NULL) and lengths; returns the byte count."""
        return self._control(code, in_address, in_length, out_address, out_length, None)

    def _control(
        self,
        code: int,
        in_address: int,
        in_length: int,
        out_address: int,
        out_length: int,
        call: Call | None,
    ) -> int:
        returned = DWORD(0)
        self._scope.record(
            "DeviceIoControl",
            f"{self.name} code={shown_code(code)} in={_memory(in_address, in_length)} "
            f"out={_memory(out_address, out_length)}",
            call,
        )
        self._check(
            kernel32.DeviceIoControl,
            self._named(code),
            (out_address, out_length),
            returned,
            self.value,
            code,
            in_address or None,
            in_length,
            out_address or None,
            out_length,
            ctypes.addressof(returned),
            None,
        )
        return returned.value

    def read_raw(self, address: int, length: int) -> int:
        """ReadFile into any address; returns the byte count the driver reported."""
        return self._read(address, length, None)

    def _read(self, address: int, length: int, call: Call | None) -> int:
        returned = DWORD(0)
        self._scope.record("ReadFile", f"{self.name} {_memory(address, length)}", call)
        self._check(
            kernel32.ReadFile,
            f"ReadFile({self.name}, {length} bytes)",
            (address, length),
            returned,
            self.value,
            address or None,
            length,
            ctypes.addressof(returned),
            None,
        )
        return returned.value

    def write_raw(self, address: int, length: int) -> int:
        """WriteFile from any address; returns the byte count the driver reported."""
        return self._write(address, length, None)

    def _write(self, address: int, length: int, call: Call | None) -> int:
        returned = DWORD(0)
        self._scope.record("WriteFile", f"{self.name} {_memory(address, length)}", call)
        self._failed = True
        kernel32.WriteFile.check(
            f"WriteFile({self.name}, {length} bytes)",
            self.value,
            address or None,
            length,
            ctypes.addressof(returned),
            None,
        )
        self._failed = False
        return returned.value

    def read_async(self, size: int) -> Pending:
        """Starts an overlapped read of up to `size` bytes."""
        buffer = output_buffer(size)
        pending = Pending(f"ReadFile({self.name}, {size} bytes)", self.value, None, buffer, self._scope)
        self._scope.record("ReadFile", f"{self.name} overlapped {size}", {"on": self.number, "length": size})
        pending.start(lambda overlapped: kernel32.ReadFile.call(self.value, buffer, size, None, overlapped))
        return pending

    def write_async(self, data: Data) -> Pending:
        """Starts an overlapped write; the byte count that the driver reports is the result's `count`."""
        source, length = input_buffer(data)
        pending = Pending(
            f"WriteFile({self.name}, {length} bytes)", self.value, source, None, self._scope, writes=True
        )
        self._scope.record("WriteFile", f"{self.name} overlapped {length}", self._with_input(source))
        pending.start(
            lambda overlapped: kernel32.WriteFile.call(self.value, source, length, None, overlapped)
        )
        return pending

    def ioctl_async(self, code: int, data: Data = b"", out: int = 0) -> Pending:
        """Starts an overlapped control with room for `out` bytes of output."""
        source, length = input_buffer(data)
        buffer = output_buffer(out)
        pending = Pending(self._named(code), self.value, source, buffer, self._scope)
        self._scope.record(
            "DeviceIoControl",
            f"{self.name} overlapped code={shown_code(code)} in={length} out={out}",
            self._with_input(source, code=code, out=out),
        )
        pending.start(
            lambda overlapped: kernel32.DeviceIoControl.call(
                self.value, code, source, length, buffer, out, None, overlapped
            )
        )
        return pending

    def cancel_io(self) -> None:
        """CancelIo: cancels what this thread has pending on this handle."""
        self._scope.record("CancelIo", self.name, {"on": self.number})
        kernel32.CancelIo.check(f"CancelIo({self.name})", self.value)

    def cancel_io_ex(self) -> None:
        """CancelIoEx: cancels everything pending on this handle, whichever thread issued it."""
        self._scope.record("CancelIoEx", self.name, {"on": self.number})
        kernel32.CancelIoEx.check(f"CancelIoEx({self.name})", self.value, None)

    def _check(
        self, function: Function, operation: str, output: tuple[int, int], returned: DWORD, *arguments: object
    ) -> None:
        """Makes the call; an error carries the output (address, length) that the driver delivered."""
        result, error = function.call(*arguments)
        self._failed = function.failed(result)
        if not self._failed:
            return
        address, length = output
        delivered = b""
        if error == constants.ERROR_MORE_DATA and address:
            delivered = ctypes.string_at(address, min(returned.value, length))
        raise Win32Error(error, operation, delivered, returned.value)

    def _named(self, code: int) -> str:
        return f"DeviceIoControl({self.name}, {shown_code(code)})"

    def _with_input(self, source: Buffer | None, **arguments: int | str) -> Call | None:
        """A call on this device for the journal; None if the input is longer than MAX_JOURNALLED."""
        if source is not None and len(source) > MAX_JOURNALLED:
            return None
        return {"on": self.number, **arguments, "in": source.raw.hex() if source else ""}

    def _taken(self, buffer: Buffer | None, count: int, room: int) -> bytes:
        require_room(self.name, count, room)
        return ctypes.string_at(buffer, count) if buffer else b""


def _memory(address: int, length: int) -> str:
    """How the journal shows a buffer: its length, and `@NULL` when it has no address."""
    return f"{length}" if address else f"{length}@NULL"

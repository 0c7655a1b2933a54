"""Issues the operations of a case: overlapped, with any buffer and length, from one thread or several.

No operation is waited for longer than a moment, so that a request that the driver keeps does not stop the
loop. Buffers of requests that stay in the driver after their handle was closed are kept for good.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
import time
from collections.abc import Iterable

from agent import underway
from agent.errors import Win32Error
from agent.fuzz.case import Case, Operation, input_of
from agent.win32 import kernel32, ntdll
from agent.win32.constants import SYNCHRONIZE
from agent.win32.layouts import HANDLE, IoStatusBlock, ObjectAttributes, UnicodeString
from agent.win32.memory import Memory
from agent.win32.native import FILE_OPEN, GENERIC_READ_WRITE, OBJ_CASE_INSENSITIVE

PENDING = 0x103
SETTLE_S = 0.002
DRAIN_S = 0.02
"""How long the requests of a case may take to complete once its handles are closed."""
LOST_LIMIT = 4096
"""Requests that the driver may keep before no more are issued."""
ERROR_NO_SYSTEM_RESOURCES = 1450
KERNEL_ADDRESS = 0xFFFF800000001000

Buffer = ctypes.Array[ctypes.c_char]
Named = tuple["ctypes.Array[ctypes.c_wchar]", UnicodeString, ObjectAttributes]


class Executor:
    """Issues cases. Attributes: `issued`, operations so far; `lost`, requests that never completed."""

    def __init__(self) -> None:
        self.issued = 0
        self.lost: list[tuple[IoStatusBlock, object]] = []
        self._freed = _freed_address()
        self._names: dict[str, Named] = {}
        self._slots: dict[int, int] = {}
        self._pending: list[tuple[IoStatusBlock, object]] = []

    def run(self, case: Case) -> None:
        """Issues all operations, cancels what is under way and closes what is open.

        Raises:
            Win32Error: the driver keeps more requests than `LOST_LIMIT`.
        """
        if len(self.lost) > LOST_LIMIT:
            kept = f"issuing a case: the driver keeps {len(self.lost)} requests"
            raise Win32Error(ERROR_NO_SYSTEM_RESOURCES, kept)
        for threaded, group in itertools.groupby(case, lambda one: one.get("thread", 0) != 0):
            if threaded:
                self._race(list(group))
            else:
                self._issue_all(group)
        self._end()

    def opens(self, device: str) -> bool:
        """Whether the device can be opened; it is closed again."""
        self._open(0, device)
        there = 0 in self._slots
        self._end()
        return there

    def _issue_all(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            self._issue(operation)

    def _race(self, operations: list[Operation]) -> None:
        by_thread: dict[int, list[Operation]] = {}
        for one in operations:
            by_thread.setdefault(one["thread"], []).append(one)
        start = threading.Barrier(len(by_thread))

        def run(own: list[Operation]) -> None:
            start.wait()
            self._issue_all(own)

        threads = [threading.Thread(target=run, args=(own,), daemon=True) for own in by_thread.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()  # a call that hangs is seen by the host at the deadline

    def _issue(self, operation: Operation) -> None:
        op, slot = operation["op"], operation.get("on", 0)
        if op == "open":
            self._open(slot, operation["device"])
            return
        handle = self._slots.get(slot)
        if op == "wait":
            time.sleep(SETTLE_S)
        elif handle is None:
            return
        elif op == "cancel":
            underway.journalled("CancelIoEx", "")
            kernel32.CancelIoEx.call(handle, None)
        elif op == "close":
            self._slots.pop(slot, None)
            underway.journalled("CloseHandle", "")
            kernel32.CloseHandle.call(handle)
        else:
            self._transfer(op, handle, operation)
        self.issued += 1

    def _open(self, slot: int, device: str) -> None:
        if device not in self._names:
            text = ctypes.create_unicode_buffer(device)
            length = 2 * len(device)
            name = UnicodeString(length, length + 2, ctypes.cast(text, ctypes.c_wchar_p))
            attributes = ObjectAttributes(
                ctypes.sizeof(ObjectAttributes), None, ctypes.pointer(name), OBJ_CASE_INSENSITIVE, None, None
            )
            self._names[device] = text, name, attributes
        handle, block = HANDLE(), IoStatusBlock()
        underway.journalled("NtCreateFile", device)
        status, _ = ntdll.NtCreateFile.call(
            ctypes.addressof(handle),
            GENERIC_READ_WRITE | SYNCHRONIZE,
            ctypes.addressof(self._names[device][2]),
            ctypes.addressof(block),
            None,
            0,
            3,
            FILE_OPEN,
            0,
            None,
            0,
        )
        self.issued += 1
        if not status & 0x80000000 and handle.value:
            if before := self._slots.get(slot):
                kernel32.CloseHandle.call(before)
            self._slots[slot] = handle.value

    def _transfer(self, op: str, handle: int, operation: Operation) -> None:
        data, out = input_of(operation), operation.get("out", 0)
        into, source = operation.get("into", "own"), operation.get("from", "own")
        given = ctypes.create_string_buffer(data, max(1, len(data), out if into == "same" else 0))
        taken = given if into == "same" else ctypes.create_string_buffer(out or 1)
        block = IoStatusBlock(PENDING)
        first, second = self._address(source, given), self._address(into, taken)
        common = (handle, None, None, None, ctypes.addressof(block))
        if op == "ioctl":
            detail = f"0x{operation.get('code', 0):X} in={len(data)} out={out}"
            underway.journalled("NtDeviceIoControlFile", detail)
            status, _ = ntdll.NtDeviceIoControlFile.call(
                *common,
                operation.get("code", 0),
                first if data or source != "own" else None,
                len(data),
                second if out or into != "own" else None,
                out,
            )
        elif op == "read":
            offset = ctypes.c_int64(0)
            underway.journalled("NtReadFile", str(out))
            status, _ = ntdll.NtReadFile.call(*common, second, out, ctypes.addressof(offset), None)
        else:
            offset = ctypes.c_int64(0)
            underway.journalled("NtWriteFile", str(len(data)))
            status, _ = ntdll.NtWriteFile.call(*common, first, len(data), ctypes.addressof(offset), None)
        if status == PENDING:
            self._pending.append((block, (given, taken)))

    def _address(self, place: str, buffer: Buffer) -> int | None:
        if place == "null":
            return None
        if place == "freed":
            return self._freed
        return KERNEL_ADDRESS if place == "kernel" else ctypes.addressof(buffer)

    def _end(self) -> None:
        for slot in list(self._slots):
            if any(block.Status == PENDING for block, _ in self._pending):
                self._issue({"op": "cancel", "on": slot})
            self._issue({"op": "close", "on": slot})
        until = time.monotonic() + DRAIN_S
        while self._pending:
            self._pending = [one for one in self._pending if one[0].Status == PENDING]
            if not self._pending or time.monotonic() > until:
                break
            time.sleep(SETTLE_S)
        self.lost += self._pending
        self._pending = []


def _freed_address() -> int:
    memory = Memory(4096)
    memory.free()
    return memory.address

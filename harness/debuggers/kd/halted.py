"""Requests to a halted target: memory, registers, version, modules, bugcheck data, and to continue."""

from __future__ import annotations

import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from harness.deadline import Deadline
from harness.debuggers.kd import context as kd_context
from harness.debuggers.kd.link import TargetRestartedError
from harness.debuggers.kd.manipulate import (
    PAGE,
    READ_LIMIT,
    Api,
    Manipulate,
    Version,
    continue2,
    read_virtual,
)
from harness.debuggers.kd.packets import PacketType
from harness.debuggers.kd.state import STATUS_BREAKPOINT, StateChange
from harness.errors import KdError

_BUGCHECK_DATA = 0x88
_INT3 = b"\xcc"


class RequestRefusedError(KdError):
    """The target refuses a request."""


@dataclass(frozen=True)
class Module:
    """A loaded image: full path, base address, size in bytes."""

    path: str
    base: int
    size: int


class Exchange(Protocol):
    """Sends requests to a halted target: over a link to a live one, or to the recorded replies of one."""

    def request(self, message: Manipulate, deadline: Deadline) -> Manipulate:
        """The reply to a request."""

    def send(self, packet_type: PacketType, payload: bytes, deadline: Deadline) -> None:
        """Sends the packet that continues the target."""


class HaltedTarget:
    """A target between a state change and its continuation. A method whose request fails raises KdError."""

    def __init__(self, link: Exchange, change: StateChange, deadline: Deadline) -> None:
        self._link = link
        self._change = change
        self._deadline = deadline
        self._contexts: dict[int, bytes] = {}

    @property
    def processors(self) -> int:
        """How many processors the machine has, as the halt reported it."""
        return self._change.processors

    def version(self) -> Version:
        """Version of the kernel, and the addresses of its module list and debugger data."""
        return Version.parse(self._request(Api.GET_VERSION))

    def read(self, address: int, size: int) -> bytes:
        """`size` bytes of virtual memory; fewer where the rest is not mapped."""
        data = b""
        while len(data) < size:
            at = address + len(data) & 0xFFFFFFFFFFFFFFFF
            wanted = min(size - len(data), READ_LIMIT, PAGE - at % PAGE)
            reply = self._ask(Api.READ_VIRTUAL, read_virtual(at, wanted))
            actual = min(struct.unpack_from("<I", reply.union, 12)[0], wanted, len(reply.data))
            data += reply.data[:actual]
            if reply.failed or not actual:
                break
        return data

    def context(self, processor: int | None = None) -> bytes:
        """The CONTEXT record of a processor; by default of the one that reported the halt."""
        number = self._change.processor if processor is None else processor
        if number not in self._contexts:  # 1,232 bytes are a tenth of a second on a serial line
            self._contexts[number] = self._request(Api.GET_CONTEXT, processor=number).data
        return self._contexts[number]

    def contexts(self) -> dict[int, bytes]:
        """The CONTEXT record of every processor whose record can be read."""
        found = {}
        for processor in range(min(self._change.processors, 256)):
            try:
                found[processor] = self.context(processor)
            except TargetRestartedError:
                raise
            except KdError:
                if self._deadline.expired:
                    break
        return found

    def bugcheck(self, debugger_data: int) -> tuple[int, ...] | None:
        """Code and four parameters from the kernel's bugcheck data; None when there is no bugcheck."""
        block = self._pointer(debugger_data)
        data = self.read(self._pointer(block + _BUGCHECK_DATA), 40)
        if len(data) < 40:
            raise KdError("The kernel's bugcheck data cannot be read.")
        words = struct.unpack("<5Q", data)
        return words if words[0] else None

    def step_over(self) -> None:
        """Moves an x64 target past the breakpoint instruction at its pc; otherwise it would break again."""
        if self._change.instructions[:1] == _INT3:
            with suppress(RequestRefusedError):
                context = self.context()
                if len(context) == kd_context.SIZE:
                    moved = kd_context.with_registers(context, rip=self._change.pc + 1)
                    self._request(Api.SET_CONTEXT, data=moved)
                    self._contexts.clear()

    def go(self, status: int, *, amd64: bool) -> None:
        """Lets the target run.

        Args:
            status: how the exception was settled, e.g. HANDLED.
            amd64: the kernel is x64; others have no DR7.
        """
        union = continue2(status, self._change.dr7 if amd64 else 0)
        message = self._message(Api.CONTINUE2, union, b"", None)
        self._link.send(PacketType.STATE_MANIPULATE, message.encode(), self._deadline)

    def _pointer(self, address: int) -> int:
        data = self.read(address, 8)
        if len(data) < 8:
            raise KdError(f"Memory at {address:#x} cannot be read.")
        return int.from_bytes(data, "little")

    def _request(self, api: Api, data: bytes = b"", processor: int | None = None) -> Manipulate:
        reply = self._ask(api, b"", data, processor)
        if reply.failed:
            raise RequestRefusedError(f"The target refuses {api.name} with status {reply.status:#x}.")
        return reply

    def _ask(self, api: Api, union: bytes, data: bytes = b"", processor: int | None = None) -> Manipulate:
        return self._link.request(self._message(api, union, data, processor), self._deadline)

    def _message(self, api: Api, union: bytes, data: bytes, processor: int | None) -> Manipulate:
        number = self._change.processor if processor is None else processor
        return Manipulate(api, self._change.processor_level, number, 0, union, data)


def is_breakpoint(change: StateChange) -> bool:
    """Whether the target halted at a breakpoint instruction."""
    return change.exception is not None and change.exception.code == STATUS_BREAKPOINT

"""A halt served by another debugger: repeats, from recorded replies, what that debugger read."""

from __future__ import annotations

import bisect
import struct

from harness.deadline import Deadline
from harness.debuggers.kd.halted import HaltedTarget, is_breakpoint
from harness.debuggers.kd.manipulate import Api, Manipulate
from harness.debuggers.kd.packets import Packet
from harness.debuggers.kd.state import StateChange
from harness.errors import KdError

REPLIES_LIMIT = 8192
"""Replies kept of one halt; they cover some hundred modules, stacks and pages."""


class OverheardHalt:
    """Collects the replies of a halted target.

    Args:
        packet: the state change.
        change: what it says.
        break_in: the target was asked to halt.
    """

    def __init__(self, packet: Packet, change: StateChange, *, break_in: bool) -> None:
        self.packet = packet
        self.break_in = break_in
        self._change = change
        self._memory: dict[int, bytes] = {}
        self._starts: list[int] | None = None
        self._others: dict[tuple[int, int], Manipulate] = {}

    @property
    def at_breakpoint(self) -> bool:
        """Whether the target halted at a breakpoint instruction."""
        return is_breakpoint(self._change)

    def take_reply(self, packet: Packet) -> None:
        """Keeps the reply to a request; ignores a malformed one."""
        try:
            reply = Manipulate.parse(packet.payload)
        except KdError:
            return
        if len(self._memory) + len(self._others) >= REPLIES_LIMIT:
            return
        if reply.api != Api.READ_VIRTUAL:
            # The first reply is kept: later ones may show memory that the debugger changed.
            self._others.setdefault((reply.api, reply.processor), reply)
            return
        address, _, actual = struct.unpack_from("<QII", reply.union)
        data = reply.data[:actual]
        if len(data) > len(self._memory.get(address, b"")):
            self._memory[address] = data
            self._starts = None

    def target(self) -> HaltedTarget:
        """The halted target; it answers only requests that the other debugger made."""
        return HaltedTarget(self, self._change, Deadline.after(0.0))

    def request(self, message: Manipulate, deadline: Deadline) -> Manipulate:  # noqa: ARG002 - no wait
        """The reply that was given to such a request.

        Raises:
            KdError: the other debugger made no such request.
        """
        if message.api == Api.READ_VIRTUAL:
            address, count = struct.unpack_from("<QI", message.union)
            data = self._read(address, count)
            union = struct.pack("<QII", address, count, len(data))
            return Manipulate(message.api, message.processor_level, message.processor, 0, union, data)
        reply = self._others.get((message.api, message.processor))
        if reply is None:
            raise KdError(f"The other debugger did not make this {Api(message.api).name} request.")
        return reply

    def send(self, packet_type: int, payload: bytes, deadline: Deadline) -> None:  # noqa: ARG002
        """Raises KdError: the halt is over, so nothing can be sent."""
        raise KdError("The halt is over.")

    def _read(self, address: int, count: int) -> bytes:
        """Memory from `address` on, joined from replies, up to the first byte that none holds."""
        if self._starts is None:
            self._starts = sorted(self._memory)
        data = b""
        while len(data) < count:
            at = address + len(data)
            start = self._starts[bisect.bisect_right(self._starts, at) - 1] if self._starts else at
            piece = self._memory.get(start, b"")[at - start :] if start <= at else b""
            if not piece:
                break
            data += piece
        return data[:count]

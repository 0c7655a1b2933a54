"""Reliable delivery over a wire: acknowledges, drops duplicates, resends lost packets."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import replace

from harness.deadline import Deadline
from harness.debuggers.kd.io import is_print
from harness.debuggers.kd.manipulate import Api, Manipulate
from harness.debuggers.kd.packets import Damage, Packet, PacketType, control
from harness.debuggers.kd.wire import (
    Arrival,
    Attached,
    ConnectionCheck,
    HandedOver,
    Notice,
    Overheard,
    TakenBack,
    Wire,
    WrongKey,
)
from harness.errors import KdError

TRIES = 20
RESET_AFTER = 10
PATIENCE = 5
"""Factor on the wait for the acknowledgement of a packet that continues the target.

By then the target may be sending already; it takes our data that crosses its packet for an acknowledgement of
that packet."""
REASK_AFTER = 4
"""Waits without a packet after which an acknowledged request is sent as a new one: its reply is lost."""
_REPLIES = 8


class TargetRestartedError(KdError):
    """The target began a new session in the middle of an exchange."""


class SilentTargetError(KdError):
    """The target did not acknowledge or reply in time; it may do so later."""


class PacketLink:
    """The host's side of the packet layer. One thread uses it; every wait keeps acknowledging packets.

    Args:
        deliver: called once for each data packet of the target except replies, in order, after its
            acknowledgement; must not wait for the target itself.
        notice: called for a new session, for datagrams made with another key, and when another debugger
            comes or goes.
        overhear: called for each data packet of that other debugger.
    """

    def __init__(
        self,
        wire: Wire,
        deliver: Callable[[Packet], None],
        notice: Callable[[Notice], None],
        overhear: Callable[[Packet], None],
    ) -> None:
        self._wire = wire
        self._deliver = deliver
        self._notice = notice
        self._overhear = overhear
        self._session = 0
        self._sending = False
        self._asked: Manipulate | None = None
        self._acknowledged = False
        self._resend = False
        self._reset_pending = False
        self._reset_answer = Deadline.after(0.0)
        self._waiting: Packet | None = None
        """The target's last packet that needs an answer from us, until it has that answer."""
        self._replies: deque[Manipulate] = deque(maxlen=_REPLIES)
        self._last: Packet | None = None
        self._last_acknowledged = True
        self._maybe_repeated: Packet | None = None
        self._renumbered = False
        self._unread = False
        """Whether a damaged packet came after the last good one: the next repetition may be of that one."""

    def pump(self, timeout_s: float) -> None:
        """Waits at most `timeout_s` seconds for arrivals, and handles them."""
        damaged = False
        for arrival in self._wire.receive(timeout_s):
            damaged |= isinstance(arrival, Damage)
            self._unread |= isinstance(arrival, Damage)
            self._take(arrival)
        if damaged:
            self._wire.send(control(PacketType.RESEND))

    def send(self, packet_type: PacketType, payload: bytes, deadline: Deadline) -> None:
        """Sends a data packet that continues the target, until it is acknowledged.

        Raises:
            SilentTargetError: no acknowledgement within the deadline or after 20 tries.
            TargetRestartedError: a new session began meanwhile.
        """
        self._asked = None
        self._send(packet_type, payload, deadline, self._wire.retry_s * PATIENCE)

    def _send(self, packet_type: PacketType, payload: bytes, deadline: Deadline, silence_s: float) -> None:
        session = self._session
        self._sending, self._acknowledged = True, False
        try:
            for attempt in range(TRIES):
                if attempt == RESET_AFTER or (attempt > RESET_AFTER and self._reset_pending):
                    self._start_over()
                self._resend = False
                self._wire.send(Packet(packet_type, self._wire.ids.next, payload))
                silence = deadline.at_most(silence_s)
                while not (self._acknowledged or self._resend or silence.expired):
                    self.pump(silence.remaining())
                    self._check(session)
                if self._acknowledged:
                    return
                if deadline.expired:
                    break
        finally:
            self._sending = False
        raise SilentTargetError("The target does not acknowledge the debugger's packets.")

    def reset(self) -> None:
        """Resets the session: a halted target reports its halt again, a running one ignores the reset."""
        self._waiting = None
        self._start_over()

    def _start_over(self) -> None:
        # A RESET is answered with a RESET, but an answer is not, or they would go on without end.
        self._reset_pending = True
        self._reset_answer = Deadline.after(self._wire.retry_s * PATIENCE)
        self._wire.send(control(PacketType.RESET, self._wire.ids.next))

    def request(self, message: Manipulate, deadline: Deadline) -> Manipulate:
        """Sends a request to the halted target and returns its reply.

        Raises:
            SilentTargetError: no reply within the deadline.
            TargetRestartedError: a new session began meanwhile.
        """
        session = self._session
        self._asked = message
        self._replies.clear()
        while not deadline.expired:
            self._send(PacketType.STATE_MANIPULATE, message.encode(), deadline, self._wire.retry_s)
            silence = deadline.at_most(self._wire.retry_s * REASK_AFTER)
            while not (self._replies or silence.expired):
                self.pump(silence.remaining())
                self._check(session)
            if self._replies:
                return self._replies.popleft()
        raise SilentTargetError(f"The target does not reply to request {message.api:#x}.")

    def _check(self, session: int) -> None:
        if session != self._session:
            raise TargetRestartedError("The target began a new session.")

    def _take(self, arrival: Arrival) -> None:
        if isinstance(arrival, Packet):
            if arrival.control:
                self._take_control(arrival)
            else:
                self._take_data(arrival)
        elif isinstance(arrival, ConnectionCheck):
            self._wire.send(control(PacketType.RESEND))
        elif isinstance(arrival, Overheard):
            self._take_overheard(arrival)
        elif isinstance(arrival, Attached):
            self._session += not arrival.same_boot
            self._resend = self._reset_pending = False
            if not arrival.same_boot:
                self._waiting = None
            self._wire.ids.restart()
            # After a new key within the same boot, the target repeats a packet whose acknowledgement it
            # missed.
            self._maybe_repeated = self._last if arrival.same_boot else None
            self._renumbered = False
            self._notice(arrival)
        elif isinstance(arrival, HandedOver):
            self._waiting = None
            self._session += 1  # the other debugger repeats an exchange that was under way
            self._notice(arrival)
        elif isinstance(arrival, TakenBack | WrongKey):
            self._notice(arrival)

    def _take_overheard(self, arrival: Overheard) -> None:
        """Follows the packets between another debugger and the target, so that this side can take over."""
        packet, ids = arrival.packet, self._wire.ids
        if arrival.from_debugger:
            if not packet.control:
                ids.follow(packet.id)
                self._overhear(packet)
            elif packet.type == PacketType.ACK and self._last is not None:
                self._last_acknowledged |= packet.id == ids.answer(self._last.id)
        elif not packet.control:
            if self._is_new(packet):
                self._last_acknowledged = False
                if packet.type != PacketType.STATE_MANIPULATE:
                    self._deliver(packet)
        elif packet.type == PacketType.RESET:
            self._target_reset(packet)

    def _is_new(self, packet: Packet) -> bool:
        """Whether a data packet of the target is new, and no repetition under another key or id."""
        said_before = self._last is not None and packet.payload == self._last.payload
        new = self._wire.ids.accept(packet.id, repeated=said_before)
        before, self._maybe_repeated = self._maybe_repeated, None
        if before is not None and self._renumbered:
            before = replace(before, id=packet.id)
        self._renumbered = False
        if new:
            self._last, self._unread = packet, False
        return new and packet != before

    def _target_reset(self, packet: Packet) -> None:
        """Handles the target's RESET: its ids start over, and it repeats what was not acknowledged."""
        unnumbered = self._wire.ids.reset(packet.id) and not self._unread
        ambiguous = unnumbered and self._last is not None and is_print(self._last)
        if not self._last_acknowledged or ambiguous:
            self._maybe_repeated, self._renumbered = self._last, True

    def _take_control(self, packet: Packet) -> None:
        if packet.type == PacketType.ACK:
            if packet.id == self._wire.ids.next:
                self._arrived()
        elif packet.type == PacketType.RESEND:
            self._resend = True
            if self._wire.ids.in_order and (self._acknowledged or not self._sending):
                # The target's packet was lost, and it took our retransmission for the acknowledgement of it.
                self._start_over()
        elif packet.type == PacketType.RESET:
            if not self._reset_pending or self._reset_answer.expired:
                self._start_over()
            else:
                self._reset_pending = False
            self._target_reset(packet)
            self._resend = True

    def _arrived(self) -> None:
        """Marks our packet as acknowledged, at once: a RESET may follow, which starts the ids over."""
        if self._sending and not self._acknowledged:
            self._acknowledged = True
            self._wire.ids.acknowledged()
            if self._asked is None:
                self._waiting = None

    def _take_data(self, packet: Packet) -> None:
        new = self._is_new(packet)
        self._wire.send(control(PacketType.ACK, self._wire.ids.answer(packet.id)))
        self._last_acknowledged = True
        if not new:
            return
        if packet.type != PacketType.STATE_MANIPULATE:
            if self._waiting is not None and packet.payload == self._waiting.payload:
                self._resend = True  # reported again after a RESET: the target still waits for our answer
                return
            # Only a target that runs again sends a packet of its own, so ours has arrived.
            if self._asked is None:
                self._arrived()
            if not is_print(packet):
                self._waiting = packet
            self._deliver(packet)
            return
        try:
            reply = Manipulate.parse(packet.payload)
        except KdError:
            return
        if self._asked is not None and _answers(reply, self._asked):
            self._arrived()
            self._replies.append(reply)


def _answers(reply: Manipulate, asked: Manipulate) -> bool:
    """Whether a reply belongs to this request, and not to an earlier one that was sent twice."""
    return (reply.api, reply.processor) == (asked.api, asked.processor) and (
        asked.api != Api.READ_VIRTUAL or reply.union[:8] == asked.union[:8]
    )

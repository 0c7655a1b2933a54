"""A kernel's side of kernel debugging: the packet layer of a target, with KDNET and serial underneath.

It is checked byte for byte against the target's side of a recorded session. Without socket or clock: its
owner feeds it bytes, takes bytes out of `outbox` and calls `timeout` when the line is silent.
"""

from __future__ import annotations

from collections import deque
from typing import Protocol

from harness.debuggers.kd.com.framing import SerialReader, is_break_in, serial_bytes
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.manipulate import Api, Manipulate
from harness.debuggers.kd.net.datagram import BREAK_IN, Datagram, Poke, Seal, data_key, is_response
from harness.debuggers.kd.packets import Damage, Packet, PacketType, control, encode, parse

NO_REPLY = (
    Api.CONTINUE, Api.CONTINUE2, Api.REBOOT, Api.CAUSE_BUGCHECK, Api.SWITCH_PROCESSOR, Api.CLEAR_BREAKPOINTS,
)  # fmt: skip
GOES_ON = (Api.CONTINUE, Api.CONTINUE2, Api.SWITCH_PROCESSOR)


class Machine(Protocol):
    """The kernel above the packet layer."""

    def say(self) -> Packet | None:
        """The next packet the running kernel sends, with id 0; None when it has none."""

    def reply(self, request: Manipulate) -> bytes:
        """The payload that answers a request."""

    def told(self, packet: Packet) -> None:
        """An answer to a prompt or to a file request."""

    def break_in(self) -> None:
        """The host wants the kernel to halt."""


class KdTarget:
    """The packet layer; subclasses carry its packets. States: running, or halted and serving requests."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.outbox: deque[bytes] = deque()
        self._pending: Packet | None = None
        self._asked: Packet | None = None
        self._reset_sent = False
        self._halt: Packet | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing of the kernel waits to be sent or acknowledged."""
        return self._pending is None and self._asked is None

    @property
    def halted(self) -> bool:
        """Whether the kernel is halted and answers requests."""
        return self._halt is not None

    def run(self) -> None:
        """Sends the kernel's next packet if the protocol allows one now."""
        if self.idle and self._halt is None and (said := self.machine.say()) is not None:
            self._send_data(said.type, said.payload)

    def timeout(self) -> None:
        """The line was silent: what is not acknowledged is sent again."""
        if self._pending is not None:
            self._emit(self._pending)

    def take(self, packet: Packet) -> None:
        """One packet of the host."""
        if packet.control:
            self._take_control(packet)
        elif self._pending is not None:
            # As kernels do: while waiting for an acknowledgement, data counts as one and must come again.
            self._emit(control(PacketType.RESEND))
            self._delivered()
        else:
            self._emit(control(PacketType.ACK, self.ack_id(packet)))
            if self.is_new(packet):
                self._take_data(packet)

    def _take_control(self, packet: Packet) -> None:
        if packet.type == PacketType.ACK:
            if self._pending is not None and packet.id == self.ack_id(self._pending):
                self._delivered()
        elif packet.type == PacketType.RESEND:
            self.timeout()
        elif packet.type == PacketType.RESET and self._reset_sent:
            self._reset_sent = False
        elif packet.type == PacketType.RESET:
            self._start_over(packet)

    def start_over(self) -> None:
        """Sends an unsolicited RESET, if it waits for something."""
        self._reset_sent = self._start_over(control(PacketType.RESET))

    def _start_over(self, packet: Packet) -> bool:
        """Answers a RESET, or sends one; a running kernel that waits for nothing does not read a RESET."""
        standing = self._halt or self._asked
        if self._pending is None and standing is None:
            return False
        self.reset(packet)
        self._emit(control(PacketType.RESET, self.next_id))
        if self._pending is None and standing is not None:
            self._send_data(standing.type, standing.payload)
        else:
            self.timeout()
        return True

    def _take_data(self, packet: Packet) -> None:
        if packet.type == PacketType.STATE_MANIPULATE and self._halt is not None:
            request = Manipulate.parse(packet.payload)
            if request.api in GOES_ON:
                self._halt = None
            if request.api in NO_REPLY:
                self.machine.told(packet)
            else:
                self._send_data(PacketType.STATE_MANIPULATE, self.machine.reply(request))
        elif self._asked is not None and packet.type == self._asked.type:
            self._asked = None
            self.machine.told(packet)

    def _send_data(self, packet_type: int, payload: bytes) -> None:
        self._pending = Packet(packet_type, self.next_id, payload)
        self._emit(self._pending)

    def _delivered(self) -> None:
        sent, self._pending = self._pending, None
        assert sent is not None
        self.advance()
        if sent.type == PacketType.STATE_CHANGE64:
            self._halt = sent
        elif sent.type == PacketType.FILE_IO or sent.payload[:4] == b"\x31\x32\0\0":
            self._asked = sent

    # The parts that differ between the transports.

    @property
    def next_id(self) -> int:
        """The id of the next packet, or of the one that waits to be acknowledged."""
        raise NotImplementedError

    def _emit(self, packet: Packet) -> None:
        raise NotImplementedError

    def ack_id(self, packet: Packet) -> int:
        """The id in the acknowledgement of a packet."""
        return packet.id

    def is_new(self, packet: Packet) -> bool:
        """Whether the host's packet was not seen before."""
        raise NotImplementedError

    def advance(self) -> None:
        """The packet with `next_id` has arrived."""
        raise NotImplementedError

    def reset(self, packet: Packet) -> None:
        """The host sent a RESET."""
        raise NotImplementedError


class KdnetTarget(KdTarget):
    """A target on a network.

    Args:
        nonce: 32 bytes; the first four count pokes, the rest stays the same until `restart`.
        poke_sequence: sequence number of the first poke.
    """

    def __init__(
        self,
        machine: Machine,
        key: Key,
        nonce: bytes,
        *,
        target: tuple[str, int] = ("10.0.2.15", 50000),
        host: tuple[str, int] = ("10.0.2.2", 50000),
        version: int = 5,
        poke_sequence: int = 3,
    ) -> None:
        super().__init__(machine)
        self._key, self._version = key, version
        self._target, self._host = target, host
        self._control = Seal(key)
        self._seal: Seal | None = None
        self._sequence = 0
        self._poke_sequence = poke_sequence
        self._nonce = nonce
        self._recent: deque[bytes] = deque(maxlen=4)
        self._highest = 0
        self._host_ids = -1
        self._id = 0

    @property
    def next_id(self) -> int:
        """The id of the next packet, or of the one that waits to be acknowledged."""
        return self._id

    @property
    def connected(self) -> bool:
        """Whether the target has a session key."""
        return self._seal is not None

    def poke(self) -> None:
        """Sends the hello that comes every three seconds."""
        connected = self._host if self._seal else ("0.0.0.0", 0)
        body = Poke(self._nonce, self._target, self._host, connected).encode()
        self.outbox.append(self._control.close(Datagram(self._version, 1, self._poke_sequence, False, body)))
        self._recent.append(self._nonce)
        self._poke_sequence += 3
        counter = int.from_bytes(self._nonce[:4], "little") + 1
        self._nonce = counter.to_bytes(4, "little") + self._nonce[4:]

    def receive(self, data: bytes) -> None:
        """One datagram of the host; what cannot be opened is dropped."""
        seal = self._control if data[5] else self._seal
        datagram = seal.open(data) if seal else None
        if datagram is None or not datagram.from_host:
            return
        if datagram.channel:
            self._take_control_channel(datagram)
        elif datagram.sequence > self._highest:
            self._highest = datagram.sequence
            if datagram.body == BREAK_IN:
                self.machine.break_in()
            else:
                self.take(parse(datagram.body))

    def _take_control_channel(self, datagram: Datagram) -> None:
        if not datagram.body:
            self.poke()
        elif is_response(datagram) and datagram.body[2:34] in self._recent:
            self._seal = Seal(self._key, data_key(self._key, datagram.body))
            self._highest, self._host_ids = 0, -1
            address = bytes(int(part) for part in self._host[0].split("."))
            self._seal_data(bytes(8) + address[::-1])
            if self._pending is None:
                self.run()

    def _emit(self, packet: Packet) -> None:
        self._seal_data(encode(packet))

    def _seal_data(self, body: bytes) -> None:
        if self._seal is None:
            return
        self._sequence += 1
        self.outbox.append(self._seal.close(Datagram(self._version, 0, self._sequence, False, body)))

    def is_new(self, packet: Packet) -> bool:
        """Whether the host's packet was not seen before."""
        if packet.id <= self._host_ids:
            return False
        self._host_ids = packet.id
        return True

    def advance(self) -> None:
        """Target ids go up in steps of two."""
        self._id += 2

    def reset(self, packet: Packet) -> None:
        """The id is the one the host will use next."""
        self._host_ids = packet.id - 1


class KdcomTarget(KdTarget):
    """A target on a serial line."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._reader = SerialReader(self._between)
        self._first = True
        self._own = 0x80800000
        self._expected = 0x80800000

    @property
    def next_id(self) -> int:
        """The id of the packet to send; the first one carries the SYNC bit."""
        return self._own | 0x800 if self._first else self._own

    def receive(self, data: bytes) -> None:
        """Bytes of the host; `b` between packets asks to halt, wherever in a read it stands."""
        for found in self._reader.feed(data):
            if isinstance(found, Damage):
                self._emit(control(PacketType.RESEND))
            else:
                self.take(found)

    def _between(self, data: bytes) -> None:
        if is_break_in(data):
            self.machine.break_in()

    def _emit(self, packet: Packet) -> None:
        self.outbox.append(serial_bytes(packet))

    def ack_id(self, packet: Packet) -> int:
        """SYNC does not count."""
        return packet.id & ~0x800

    def is_new(self, packet: Packet) -> bool:
        """Whether the host's packet was not seen before."""
        if packet.id != self._expected:
            return False
        self._expected ^= 1
        return True

    def advance(self) -> None:
        """Two ids in turn."""
        self._first = False
        self._own ^= 1

    def reset(self, packet: Packet) -> None:
        """Both sides start over."""
        self._first = False
        self._own = self._expected = 0x80800000
        if self._pending is not None:
            self._pending = Packet(self._pending.type, self.next_id, self._pending.payload)

"""Relays and decodes KDNET between a target and another debugger; uses no socket.

The key of the connection decrypts the other debugger's answers to pokes as well, and these contain the key of
each of its sessions. The target's datagrams are passed on unchanged. The debugger's are encrypted anew, so
that the target sees one sequence of numbers from both hosts: the session can be taken back, and handed over
again, at any moment.
"""

from __future__ import annotations

from contextlib import suppress

from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.datagram import (
    BREAK_IN,
    CONTROL_CHANNEL,
    DATA_CHANNEL,
    Datagram,
    Poke,
    Seal,
    answered_nonce,
    boot_of,
    check_form,
    data_key,
    is_connection_check,
    is_response,
)
from harness.debuggers.kd.net.session import Address, KdnetSession, Offer
from harness.debuggers.kd.packets import Packet, parse
from harness.debuggers.kd.wire import Arrival, Attached, HandedOver, Overheard, TakenBack, WrongKey
from harness.errors import KdError


class KdnetRelaySession(KdnetSession):
    """A `KdnetSession` that hands the target over to another debugger whenever that one answers its pokes.

    Args:
        debugger: its name in messages.

    Attributes:
        relayed: the other debugger has the target; nothing of our own is sent.
        awaited: the target waits for an answer from the debugger.
        to_debugger: datagrams to pass on; the owner takes them from the list.
    """

    def __init__(self, key: Key, debugger: str) -> None:
        super().__init__(key)
        self._debugger = debugger
        self._connection_key = key
        self._poked_from: Address | None = None
        self._unanswered: tuple[Poke, Datagram, Address] | None = None
        self._heard = 0
        self._refused_debugger = False
        self.relayed = False
        self.awaited = False
        self.to_debugger: list[bytes] = []

    def send(self, packet: Packet) -> None:
        """Seals a packet for the target, unless another debugger has it."""
        if not self.relayed:
            super().send(packet)

    def break_in(self) -> None:
        """Seals a break-in, unless another debugger has the target."""
        if not self.relayed:
            super().break_in()

    def receive(self, data: bytes, source: Address) -> list[Arrival]:
        """Decodes a datagram from the target's address; passes it on if it concerns the debugger."""
        unopened = self._session.unopened if self._session is not None else 0
        arrivals = super().receive(data, source)
        session = self._session
        theirs = session is not None and session.theirs
        if any(isinstance(arrival, Attached) for arrival in arrivals):
            self._heard = 0
            if theirs and not self.relayed:
                self.relayed = True
                arrivals.insert(1, HandedOver(self._debugger))
            elif self.relayed and not theirs:
                arrivals.insert(1, self._taken_back())
        if not self.relayed:
            return arrivals
        # Undecryptable ones are passed on too: the target may have accepted an old answer of the debugger
        # again.
        strange = session is not None and session.unopened > unopened
        if data[5:6] == bytes((DATA_CHANNEL,)) and (arrivals or strange):
            self.to_debugger.append(data)
            lost = session is not None and session.lost
            self.awaited |= lost or any(not isinstance(one, Packet) or not one.control for one in arrivals)
        return [
            Overheard(one, from_debugger=False) if isinstance(one, Packet) else one
            for one in arrivals
            if isinstance(one, Packet | Attached | HandedOver | WrongKey)
        ]

    def receive_from_debugger(self, data: bytes) -> list[Arrival]:
        """Decodes a datagram of the other debugger, and passes it on to the target."""
        try:
            check_form(data)
            if data[5] == CONTROL_CHANNEL:
                return self._answer(data)
            session = self._session
            datagram = session.seal.open(data) if session is not None and session.theirs else None
        except KdError:
            return []
        if datagram is None or not datagram.from_host or datagram.sequence <= self._heard:
            return []
        self._heard = datagram.sequence
        self.awaited = False
        arrivals: list[Arrival] = []
        if not self.relayed:  # it was silent for so long that it counted as gone
            self.relayed = True
            arrivals.append(HandedOver(self._debugger))
        self._send(datagram.body)
        if datagram.body != BREAK_IN and not is_connection_check(datagram.body):
            with suppress(KdError):  # the target requests a damaged packet again
                arrivals.append(Overheard(parse(datagram.body), from_debugger=True))
        return arrivals

    def take_back(self) -> list[Arrival]:
        """Takes the target back: the session that the other debugger began continues under its key."""
        if not self.relayed:
            return []
        unanswered = self._unanswered
        taken = self._taken_back()
        if unanswered is not None:
            super()._take_poke(*unanswered)
        return [taken]

    def _taken_back(self) -> TakenBack:
        self.relayed = self.awaited = False
        self._unanswered = None
        return TakenBack(self._debugger)

    def _take_poke(self, poke: Poke, datagram: Datagram, source: Address) -> None:
        """Passes every poke on to the debugger. This host answers only while the debugger has no target."""
        self._poked_from = source
        self.to_debugger.append(self._control.close(datagram))
        if not self.relayed:
            super()._take_poke(poke, datagram, source)
        elif not poke.connected[1]:
            self.awaited = True
            self._unanswered = poke, datagram, source

    def _answer(self, data: bytes) -> list[Arrival]:
        """Handles the debugger's answer to a poke, or its request for one."""
        datagram = self._control.open(data)
        if datagram is None:
            if self._refused_debugger:
                return []
            self._refused_debugger = True
            return [WrongKey(self._debugger)]
        if not datagram.from_host or self._poked_from is None:
            return []
        if is_response(datagram):
            seal = Seal(self._connection_key, data_key(self._connection_key, datagram.body))
            boot = boot_of(answered_nonce(datagram.body))
            offer = Offer(boot, datagram.sequence, datagram.body, seal, theirs=True)
            self._remember(datagram.body, offer)
            self.awaited, self._unanswered = False, None
        self.outbox.append((data, self._poked_from))
        return []

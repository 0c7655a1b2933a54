"""The host's side of a KDNET session: answers pokes, derives keys, decrypts datagrams; uses no socket.

Every poke is answered while there is no session. During one, only a poke of a target that has lost its data
channel is answered, because a target takes a new key from any answer.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.datagram import (
    BREAK_IN,
    CONTROL_CHANNEL,
    DATA_CHANNEL,
    Datagram,
    Poke,
    Seal,
    check_form,
    data_key,
    is_connection_check,
    response,
)
from harness.debuggers.kd.packets import Damage, Packet, encode, parse
from harness.debuggers.kd.wire import Arrival, Attached, ConnectionCheck, WrongKey
from harness.errors import KdError

Address = tuple[str, int]
_OFFERS = 8
_REFUSED = 64
_ASK_EVERY = 16
_LOST = 4


@dataclass
class Offer:
    """An answer to a poke, with the key that the target may use next; `theirs`: another debugger sent it."""

    boot: bytes
    sequence: int
    body: bytes
    seal: Seal
    theirs: bool = False


@dataclass
class _Session:
    """The key in use. `poke`: sequence number of the poke it came from; `highest`: of the newest data."""

    seal: Seal
    boot: bytes
    poke: int
    address: Address
    version: int
    highest: int
    theirs: bool
    unopened: int = 0
    """Consecutive datagrams this key does not decrypt: the target may have accepted an old answer again."""

    @property
    def lost(self) -> bool:
        return self.unopened >= _LOST


class KdnetSession:
    """Converts datagrams into arrivals, and packets into datagrams.

    Args:
        key: the connection's key.
        random: returns the host's part of a session key.
    """

    def __init__(self, key: Key, random: Callable[[int], bytes] = os.urandom) -> None:
        self._key = key
        self._random = random
        self._control = Seal(key)
        self._offers: OrderedDict[bytes, Offer] = OrderedDict()
        self._session: _Session | None = None
        self._sequence = 0
        self._refused: set[str] = set()
        self._unknown = 0
        self.outbox: list[tuple[bytes, Address]] = []
        """Datagrams to send, each with its destination; the owner takes them from the list."""

    def send(self, packet: Packet) -> None:
        """Encrypts a packet for the target; drops it when there is no session."""
        self._send(encode(packet))

    def break_in(self) -> None:
        """Encrypts a break-in for the target."""
        self._send(BREAK_IN)

    def receive(self, data: bytes, source: Address) -> list[Arrival]:
        """Decodes a datagram from `source`; returns nothing for one that cannot come from our target."""
        try:
            if data[5:6] != bytes((CONTROL_CHANNEL,)):
                check_form(data)
                return self._data(data, source)
            datagram = self._control.open(data)
        except KdError:
            return []
        if datagram is None:
            return self._refuse(source)
        if not datagram.from_host and (poke := Poke.parse(datagram.body)) is not None:
            self._take_poke(poke, datagram, source)
        return []

    def _refuse(self, source: Address) -> list[Arrival]:
        """Reports a wrong key once for each source address, for a bounded number of addresses."""
        if source[0] in self._refused or len(self._refused) >= _REFUSED:
            return []
        self._refused.add(source[0])
        return [WrongKey(f"{source[0]}:{source[1]}")]

    def _take_poke(self, poke: Poke, datagram: Datagram, source: Address) -> None:
        session = self._session
        if session is not None:
            if source[0] != session.address[0]:
                return
            late = datagram.sequence <= session.poke  # sent before the connection, or delivered twice
            kept_alive = poke.connected[1] and not session.lost
            if poke.boot == session.boot and (late or kept_alive):
                return
        # A poke that arrives several times gets the same answer: two answers would be two keys.
        offer = self._offers.get(datagram.body) or self._offer(poke, datagram)
        reply = Datagram(datagram.version, CONTROL_CHANNEL, datagram.sequence, True, offer.body)
        self.outbox.append((self._control.close(reply), source))

    def _offer(self, poke: Poke, datagram: Datagram) -> Offer:
        body = response(poke.nonce, self._random(32))
        offer = Offer(poke.boot, datagram.sequence, body, Seal(self._key, data_key(self._key, body)))
        self._remember(datagram.body, offer)
        return offer

    def _remember(self, poke: bytes, offer: Offer) -> None:
        self._offers[poke] = offer
        if len(self._offers) > _OFFERS:
            self._offers.popitem(last=False)

    def _data(self, data: bytes, source: Address) -> list[Arrival]:
        session = self._session
        if session is not None and (datagram := session.seal.open(data)):
            if datagram.from_host or datagram.sequence <= session.highest:
                return []
            session.highest = datagram.sequence
            session.unopened = 0
            session.address = source
            return _arrivals(datagram.body)
        for offer in reversed(self._offers.values()):
            if (datagram := offer.seal.open(data)) and not datagram.from_host:
                return [self._begin(offer, datagram, source), *_arrivals(datagram.body)]
        if session is not None and source[0] == session.address[0]:
            session.unopened += 1
        if (session is None and not self._offers) or (session is not None and session.lost):
            self._ask_for_a_poke(data[4], source)
        return []

    def _begin(self, offer: Offer, datagram: Datagram, source: Address) -> Attached:
        """Begins a session with the offered key that the target uses; drops this offer and earlier ones."""
        before = self._session
        boot = offer.boot
        self._session = _Session(
            offer.seal, boot, offer.sequence, source, datagram.version, datagram.sequence, offer.theirs
        )
        while self._offers.popitem(last=False)[1] is not offer:
            pass
        same_boot = before is not None and before.boot == boot
        return Attached(f"{source[0]}:{source[1]}", before is not None, same_boot)

    def _ask_for_a_poke(self, version: int, source: Address) -> None:
        """Sends an empty datagram: a target whose host is gone pokes at once when it receives one."""
        if self._unknown % _ASK_EVERY == 0:
            self._sequence += 1
            asking = Datagram(version, CONTROL_CHANNEL, self._sequence, True, b"")
            self.outbox.append((self._control.close(asking), source))
        self._unknown += 1

    def _send(self, body: bytes) -> None:
        session = self._session
        if session is None:
            return
        self._sequence += 1
        datagram = Datagram(session.version, DATA_CHANNEL, self._sequence, True, body)
        self.outbox.append((session.seal.close(datagram), session.address))


def _arrivals(body: bytes) -> list[Arrival]:
    if is_connection_check(body):
        return [ConnectionCheck()]
    try:
        return [parse(body)]
    except KdError as error:
        return [Damage(error.message)]

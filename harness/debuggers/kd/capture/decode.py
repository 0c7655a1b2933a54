"""Decodes recorded kernel debugging: the KDNET datagrams of a capture, and counts what was found."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from harness.debuggers.kd.capture.udp import FrameCounts
from harness.debuggers.kd.describe import Fields, describe
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.datagram import (
    BREAK_IN,
    CONTROL_CHANNEL,
    MAGIC,
    Datagram,
    Poke,
    Seal,
    check_form,
    data_key,
    is_connection_check,
    is_response,
)
from harness.debuggers.kd.packets import Packet, parse
from harness.errors import KdError

_KEYS = 8
"""Number of data keys kept, newest first: after a change of key a few datagrams still use the old one."""
_REPEATS = 4096
_DATA_IDS = 64


@dataclass
class CaptureSummary:
    """Counts of a capture. `packets`: KDNET datagrams; `undecodable`: those whose session key is unknown."""

    packets: int = 0
    bad_mac: int = 0
    malformed: int = 0
    undecodable: int = 0
    session_keys: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    frames: FrameCounts | None = None

    @property
    def decoded(self) -> int:
        """How many events there are beside those about damage."""
        return self.by_kind.total() - self.malformed

    @property
    def warnings(self) -> list[str]:
        """Notes that explain the counts."""
        told = [] if self.frames is None else self.frames.warnings
        if self.undecodable:
            wrong = self.bad_mac and not self.by_kind
            why = "were made with another key" if wrong else "belong to a session that began earlier"
            told.append(f"no session key: {self.undecodable} data datagrams {why}")
        if self.frames is not None and self.frames.frames and not self.packets and not told:
            told.append(f"none of {self.frames.frames} frames is a KDNET datagram")
        return told

    def fields(self) -> Fields:
        """The summary line of `winvm kd decode --json`."""
        return {
            "packets": self.packets,
            "bad_mac": self.bad_mac,
            "undecodable": self.undecodable,
            "by_kind": dict(self.by_kind),
            "malformed": self.malformed,
            "session_keys": self.session_keys,
            "warnings": self.warnings,
        }


class CaptureDecoder:
    """Decodes one datagram after the other; memory use does not grow with their number."""

    def __init__(self, key: Key) -> None:
        self._key = key
        self._control = Seal(key)
        self._data: deque[Seal] = deque(maxlen=_KEYS)
        self._seen: OrderedDict[bytes, None] = OrderedDict()
        self._ids = RepeatFilter()
        self.summary = CaptureSummary()

    def decode(self, payload: bytes) -> tuple[str, Fields] | None:
        """Kind and fields of a UDP payload; None when it is not KDNET or cannot be decrypted."""
        if payload[:4] != MAGIC:
            return None
        self.summary.packets += 1
        try:
            datagram = self._open(payload)
            if datagram is None:
                return None
            kind, fields = self._describe(datagram, payload[-16:])
        except KdError as error:
            self.summary.malformed += 1
            kind, fields = "control", {"error": error.message}
        self.summary.by_kind[kind] += 1
        return kind, fields

    def _open(self, payload: bytes) -> Datagram | None:
        is_control = payload[5:6] == bytes((CONTROL_CHANNEL,))
        for seal in (self._control,) if is_control else self._data:
            if datagram := seal.open(payload):
                return datagram
        if not is_control and not self._data:
            check_form(payload)
            self.summary.undecodable += 1
        else:
            self.summary.bad_mac += 1
        return None

    def _describe(self, datagram: Datagram, mac: bytes) -> tuple[str, Fields]:
        source: Fields = {"from": "host" if datagram.from_host else "target", "sequence": datagram.sequence}
        if mac in self._seen:
            return "resend", {**source, "repeats": "datagram"}
        self._seen[mac] = None
        if len(self._seen) > _REPEATS:
            self._seen.popitem(last=False)
        kind, fields = self._control_body(datagram) if datagram.channel else self._data_body(datagram)
        return kind, {**source, **fields}

    def _control_body(self, datagram: Datagram) -> tuple[str, Fields]:
        if is_response(datagram):
            self._data.appendleft(Seal(self._key, data_key(self._key, datagram.body)))
            self.summary.session_keys += 1
            self._ids = RepeatFilter()
            return "control", {"what": "response"}
        poke = None if datagram.from_host else Poke.parse(datagram.body)
        if poke is None:
            return "control", {"what": "unknown", "size": len(datagram.body)}
        fields: Fields = {"what": "poke", "target": _shown(poke.target), "host": _shown(poke.host)}
        return "control", fields | {"connected": _shown(poke.connected) if poke.connected[1] else None}

    def _data_body(self, datagram: Datagram) -> tuple[str, Fields]:
        if datagram.from_host and datagram.body == BREAK_IN:
            return "control", {"what": "break-in"}
        if is_connection_check(datagram.body):
            return "control", {"what": "connection-check"}
        packet = parse(datagram.body)
        return self._ids.describe(packet, from_host=datagram.from_host)


class RepeatFilter:
    """Recognizes retransmitted data packets: they keep their id."""

    def __init__(self) -> None:
        self._seen: dict[bool, OrderedDict[int, None]] = {False: OrderedDict(), True: OrderedDict()}

    def describe(self, packet: Packet, *, from_host: bool) -> tuple[str, Fields]:
        """Kind and fields; for a retransmission the kind is `resend` and `repeats` has the original kind."""
        kind, fields = describe(packet, from_host=from_host)
        if packet.control:
            return kind, fields
        seen = self._seen[from_host]
        if packet.id in seen:
            return "resend", {"id": packet.id, "repeats": kind}
        seen[packet.id] = None
        if len(seen) > _DATA_IDS:
            seen.popitem(last=False)
        return kind, fields


def _shown(endpoint: tuple[str, int]) -> str:
    return f"{endpoint[0]}:{endpoint[1]}"

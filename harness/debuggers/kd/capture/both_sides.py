"""Decodes a recorded serial line, or the target's side of one, into the events of a live debugger host."""

from __future__ import annotations

from collections.abc import Iterator

from harness.debuggers.kd.bugcheck import Bugcheck, BugcheckText, described, is_bugcheck
from harness.debuggers.kd.capture.decode import CaptureSummary
from harness.debuggers.kd.capture.overheard import OverheardHalt
from harness.debuggers.kd.com.framing import SerialReader, is_break_in
from harness.debuggers.kd.describe import Fields, describe
from harness.debuggers.kd.evidence import HaltEvidence, evidence
from harness.debuggers.kd.ids import KDCOM_SYNC, KdcomIds
from harness.debuggers.kd.images import LoadedImages
from harness.debuggers.kd.io import is_print
from harness.debuggers.kd.manipulate import settles
from harness.debuggers.kd.packets import Damage, Packet, PacketType
from harness.debuggers.kd.state import StateChange
from harness.errors import KdError

Told = tuple[str, Fields]
"""Kind and fields of an event."""


class RecordingDecoder:
    """Decodes the bytes of the line in order; memory use does not grow with their number.

    There is an event for each packet, with its sender as `from`. A bugcheck's event adds what the other
    debugger read: the target's replies, which the bytes of the target alone have too.
    """

    def __init__(self) -> None:
        self.summary = CaptureSummary()
        self._between: list[Told] = []
        self._readers = {False: SerialReader(), True: SerialReader(self._take_between)}
        self._sides = {False: _Side(), True: _Side()}
        self._images = LoadedImages()
        self._halt: OverheardHalt | None = None
        self._text = BugcheckText()
        self._printed: Bugcheck | None = None
        self._reported: Bugcheck | None = None
        self._break_in = False

    def decode(self, data: bytes, *, from_host: bool) -> Iterator[Told]:
        """Kinds and fields of the events that `data` completes."""
        for found in self._readers[from_host].feed(data):
            yield from self._flushed()
            self.summary.packets += 1
            if isinstance(found, Damage):
                self.summary.malformed += 1
                yield self._counted("control", {"error": found.reason}, from_host=from_host)
            else:
                yield from self._take(found, from_host=from_host)
        yield from self._flushed()

    def finish(self) -> Iterator[Told]:
        """The remaining events at the end of the recording."""
        yield from self._halt_ended()
        yield from self._report({"halted": False})

    def _take_between(self, between: bytes) -> None:
        if is_break_in(between):
            self._break_in = True
            self._between.append(self._counted("control", {"what": "break-in"}, from_host=True))

    def _flushed(self) -> Iterator[Told]:
        between, self._between = self._between, []
        yield from between

    def _counted(self, kind: str, fields: Fields, *, from_host: bool) -> Told:
        self.summary.by_kind[kind] += 1
        return kind, {"from": "host" if from_host else "target", **fields}

    def _take(self, packet: Packet, *, from_host: bool) -> Iterator[Told]:
        side = self._sides[from_host]
        kind, fields = describe(packet, from_host=from_host)
        if packet.control:
            self._take_control(packet, from_host=from_host)
        elif side.repeats(packet):
            kind, fields = "resend", {"id": packet.id, "repeats": kind}
        elif from_host:
            if self._halt is not None and settles(packet, self._halt.packet):
                yield from self._halt_ended()
        else:
            if side.begins(packet):
                yield from self._restarted()
            yield from self._said(packet, fields)
        yield self._counted(kind, fields, from_host=from_host)

    def _take_control(self, packet: Packet, *, from_host: bool) -> None:
        if packet.type == PacketType.ACK:
            self._sides[not from_host].acknowledged = True
        elif packet.type == PacketType.RESET and not from_host:
            for side in self._sides.values():
                side.reset()

    def _said(self, packet: Packet, fields: Fields) -> Iterator[Told]:
        """Handles a new packet of the target; adds to `fields` what follows from earlier packets."""
        if packet.type == PacketType.STATE_MANIPULATE:
            if self._halt is not None:
                self._halt.take_reply(packet)
            return
        yield from self._halt_ended()
        if is_print(packet) and (found := self._text.feed(str(fields.get("text", "")))):
            self._printed = found
        if packet.type != PacketType.STATE_CHANGE64 or "error" in fields:
            return
        change = StateChange.parse(packet.payload)
        if change.symbols is not None:
            self._images.take(change.symbols)
        if change.exception is not None:
            fields |= self._images.placed(change.pc)
            if self._break_in:
                fields["break_in"] = True
        self._halt = OverheardHalt(packet, change, break_in=self._break_in)
        self._break_in = False

    def _halt_ended(self) -> Iterator[Told]:
        """Handles the end of a halt: the debugger has finished reading and continues the target."""
        halt, self._halt = self._halt, None
        if halt is None or not halt.at_breakpoint or self._reported is not None:
            return
        target = halt.target()
        if self._printed is None and (halt.break_in or not is_bugcheck(target)):
            return
        try:
            found = evidence(target, self._printed, self._images.modules)
        except KdError:
            found = HaltEvidence()
        self._printed = found.kept or self._printed
        yield from self._report({"halted": True, **found.fields})

    def _report(self, fields: Fields) -> Iterator[Told]:
        found, self._printed = self._printed, None
        if found is not None and found != self._reported:
            self._reported = found
            said: Fields = {"code": found.code, "parameters": list(found.parameters), **described(found)}
            yield self._counted("bugcheck", {**said, **fields}, from_host=False)

    def _restarted(self) -> Iterator[Told]:
        """Handles the first packet of a stream: the target was started or restarted."""
        yield from self.finish()
        self._reported, self._break_in = None, False
        self._images.forget()
        self._sides[True].restart()


class _Side:
    """Recognizes data packets that one side has sent before."""

    def __init__(self) -> None:
        self._ids = KdcomIds()
        self._last: Packet | None = None
        self._maybe_repeated: bytes | None = None
        self.acknowledged = True

    def repeats(self, packet: Packet) -> bool:
        """Whether a data packet repeats an earlier one, under the same id or after a RESET."""
        before, self._maybe_repeated = self._maybe_repeated, None
        if self.begins(packet):
            self._ids.restart()
        again = self._last is not None and self._last.payload == packet.payload
        if not self._ids.accept(packet.id, repeated=again) or packet.payload == before:
            return True
        self._last, self.acknowledged = packet, False
        return False

    def begins(self, packet: Packet) -> bool:
        """Whether a data packet is the first of a stream, and not a retransmission of that one."""
        return bool(packet.id & KDCOM_SYNC) and packet != self._last

    def reset(self) -> None:
        """Handles a RESET: both sides start their ids over, and repeat what was not acknowledged."""
        self._ids.reset(0)
        if self._last is not None and (not self.acknowledged or is_print(self._last)):
            self._maybe_repeated = self._last.payload

    def restart(self) -> None:
        """Handles a restart of the other side."""
        self._ids.restart()

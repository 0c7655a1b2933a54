"""A reliable, ordered exchange of messages over frames: sequence numbers, acknowledgements, retransmission.

Go-back-N: up to `WINDOW` frames are under way; the receiver takes only the next one in order and asks for a
gap once (NAK), and the sender repeats from the oldest unacknowledged frame when asked or when `patience` has
passed. The line keeps the order of bytes, so nothing else is needed. The host begins a session with RESET,
under a number of its own; frames of other sessions are ignored, so that nothing from before a restore is
taken for new.

No I/O and no clock: the caller passes bytes and monotonic seconds. The guest runs this file too:
`guest/seriald` holds a symbolic link to it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

# Relative: the same file is `seriald.serial_link` in the guest.
from .serial_frames import ACK, DATA, NAK, RESET, RESET_ACK, Frame, FrameReader

WINDOW = 10
"""Frames under way: 40 KiB, less than the input buffer that the guest asks its serial driver for (64 KiB)."""
QUEUE_LIMIT = 32
"""Messages that wait for the window; `full` says that a sender must wait."""
PATIENCE_S = 1.0
"""Without any acknowledgement until the first repetition, at least, and before anything was measured."""
PATIENCE_LIMIT_S = 8.0
ACK_EVERY = 4
"""Frames received without an acknowledgement of ours, at most."""
ACK_DELAY_S = 0.05
"""How long an acknowledgement may wait for a message to travel with.

A frame of its own costs the guest as much time as the answer that follows a moment later."""
_MODULUS = 1 << 16


@dataclass
class _Sent:
    sequence: int
    payload: bytes
    time: float = 0.0
    repeated: bool = False


class SerialLink:
    """One end of the line.

    Args:
        session: number of the session; None for the guest's end, which takes the host's.

    Attributes:
        repeated: frames sent again.
        sessions: sessions begun by the other end since the start; a change means that all state is new.
    """

    def __init__(self, session: int | None = None) -> None:
        self._reader = FrameReader()
        self._host = session is not None
        self.session = session or 0
        self.open = False
        self.sessions = 0
        self.repeated = 0
        self._controls: deque[Frame] = deque()
        self._clear()

    def _clear(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._under_way: deque[_Sent] = deque()
        self._unsent = 0  # of `_under_way`, how many at its end must be (re)sent
        self._next_out = self._next_in = 0
        self._owed = 0
        self._due = 0.0  # when an acknowledgement that is owed must go
        self._asked: int | None = None  # how far ahead the last frame was since a gap was asked for
        self._patience = PATIENCE_S
        self._usual = 0.0  # seconds to an acknowledgement, smoothed; 0 before the first
        self._alarm: float | None = None

    @property
    def reader(self) -> FrameReader:
        """Counts what arrived damaged."""
        return self._reader

    @property
    def full(self) -> bool:
        """Whether `send` should wait."""
        return len(self._waiting) >= QUEUE_LIMIT

    @property
    def idle(self) -> bool:
        """Whether everything that was sent has been acknowledged."""
        return not self._waiting and not self._under_way

    def begin(self) -> None:
        """Host: asks the guest for a new session; repeated by the caller until `open`."""
        self._controls.append(Frame(RESET, self.session))

    def send(self, message: bytes) -> None:
        """Queues a message of 1 to `PAYLOAD_LIMIT` bytes."""
        self._waiting.append(message)

    def receive(self, data: bytes, now: float) -> Iterator[bytes]:
        """Yields the messages that these bytes complete, in order, each once."""
        damaged = self._reader.damaged
        for frame in self._reader.feed(data):
            if frame.kind == RESET and not self._host:
                self._reset(frame.session)
            elif frame.session != self.session:
                continue
            elif frame.kind == RESET_ACK and self._host and not self.open:
                self.open = True
            elif self.open and frame.kind in (DATA, ACK, NAK):
                self._acknowledge(frame, now)
                if frame.kind == DATA and self._in_order(frame, now):
                    yield frame.payload
        if self.open and self._reader.damaged != damaged and self._asked is None:
            self._ask(_MODULUS)  # it may have been the last one under way

    def transmit(self, now: float) -> bytes:
        """The bytes to write now; empty if there are none."""
        frames = list(self._controls)
        self._controls.clear()
        if self._alarm is not None and now >= self._alarm and self._under_way:
            self._patience = min(self._patience * 2, PATIENCE_LIMIT_S)
            self._repeat()
        while self.open and self._waiting and len(self._under_way) < WINDOW:
            self._under_way.append(_Sent(self._next_out, self._waiting.popleft()))
            self._next_out = (self._next_out + 1) % _MODULUS
            self._unsent += 1
        if self._unsent:
            first = len(self._under_way) - self._unsent
            for number in range(first, len(self._under_way)):
                sent = self._under_way[number]
                sent.repeated, sent.time = bool(sent.time), now
                frames.append(Frame(DATA, self.session, sent.sequence, self._next_in, sent.payload))
            self._unsent = 0
            self._owed = 0
            self._alarm = now + self._patience
        elif self._owed and self.open and now >= self._due:
            frames.append(Frame(ACK, self.session, 0, self._next_in))
            self._owed = 0
        return b"".join(frame.encode() for frame in frames)

    def wait(self, now: float) -> float | None:
        """Seconds until `transmit` must be called again; None if nothing is due."""
        fits = self._waiting and len(self._under_way) < WINDOW
        if self._controls or (self.open and (fits or self._unsent)):
            return 0.0
        due = [self._due] if self._owed and self.open else []
        if self._alarm is not None and self._under_way:
            due.append(self._alarm)
        return max(0.0, min(due) - now) if due else None

    def _reset(self, session: int) -> None:
        if session != self.session or not self.open:
            self._clear()
            self.session, self.open = session, True
            self.sessions += 1
        self._controls.append(Frame(RESET_ACK, session))

    def _acknowledge(self, frame: Frame, now: float) -> None:
        taken = 0
        if self._under_way:
            taken = (frame.acknowledged - self._under_way[0].sequence) % _MODULUS
        if 0 < taken <= len(self._under_way):
            for _ in range(taken):
                newest = self._under_way.popleft()
            self._unsent = min(self._unsent, len(self._under_way))
            if not newest.repeated:
                self._measure(now - newest.time)
            self._alarm = now + self._patience if self._under_way else None
        if frame.kind == NAK and self._under_way and taken <= len(self._under_way):
            self._repeat()

    def _measure(self, took: float) -> None:
        """Adapts the patience to a slow guest: what is repeated while it is still on its way makes it slower.

        Only frames sent once are measured (Karn's algorithm); until one is, the longer patience stays.
        """
        self._usual = took if not self._usual else self._usual + (took - self._usual) / 4
        self._patience = min(max(PATIENCE_S, 4 * self._usual), PATIENCE_LIMIT_S)

    def _in_order(self, frame: Frame, now: float) -> bool:
        if not self._owed:
            self._due = now + ACK_DELAY_S
        self._owed += 1
        if frame.sequence == self._next_in:
            self._next_in = (self._next_in + 1) % _MODULUS
            self._asked = None
            if self._owed >= ACK_EVERY:
                self._controls.append(Frame(ACK, self.session, 0, self._next_in))
                self._owed = 0
            return True
        self._due = now  # a repetition: the sender knows too little
        ahead = (frame.sequence - self._next_in) % _MODULUS
        if ahead < _MODULUS // 2:
            # Not further ahead than the last one: the sender began anew, and the missing one was lost again.
            if self._asked is None or ahead <= self._asked < _MODULUS:
                self._ask(ahead)
            self._asked = ahead
        return False

    def _ask(self, ahead: int) -> None:
        """Asks for what is missing."""
        self._controls.append(Frame(NAK, self.session, 0, self._next_in))
        self._asked = ahead

    def _repeat(self) -> None:
        self.repeated += len(self._under_way) - self._unsent
        self._unsent = len(self._under_way)

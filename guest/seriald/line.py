"""Between a port and the messages: one thread reads and hands on, senders write, another one repeats.

The port is anything with `read(count) -> bytes` and `write(bytes)`, both blocking; see `seriald.port`.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Protocol

from seriald.serial_link import SerialLink


class Port(Protocol):
    """The guest's end of the wire."""

    def read(self, count: int) -> bytes:
        """Blocks until so many bytes have arrived; may return fewer, more or none."""

    def write(self, data: bytes) -> None:
        """Blocks until all of it is taken."""


class Line:
    """The guest's end of one line.

    Args:
        received: called by the reading thread with each message; must not block for long.
        renewed: called by the reading thread when the host has begun a new session.
    """

    def __init__(self, port: Port, received: Callable[[bytes], None], renewed: Callable[[], None]) -> None:
        self._port = port
        self._received = received
        self._renewed = renewed
        self._link = SerialLink()
        # A condition for each thing to wait for: a thread that wakes in vain costs a slow guest the most.
        self._lock = threading.Lock()
        self._room, self._due = threading.Condition(self._lock), threading.Condition(self._lock)
        self._writing = threading.Lock()
        self._awake = 0.0  # when the writing thread wakes by itself

    def serve(self) -> None:
        """Serves until the port fails; raises its `OSError`."""
        threading.Thread(target=self._write, name="line-writer", daemon=True).start()
        while True:
            data = self._port.read(self._link.reader.wanted)
            with self._lock:
                before = self._link.sessions
                messages = list(self._link.receive(data, time.monotonic()))
                renewed = self._link.sessions != before
                if renewed or not self._link.full:
                    self._room.notify_all()
                self._wake()
            if renewed:
                self._renewed()
            for message in messages:
                self._received(message)

    @property
    def session(self) -> int:
        """Number of sessions that hosts have begun."""
        return self._link.sessions

    def send(self, message: bytes, session: int) -> bool:
        """Sends a message, waiting for room; False if `session` is over, and the message is of no use.

        The caller's thread writes, unless another is writing: a change of threads costs as much as the write.
        """
        with self._lock:
            self._room.wait_for(lambda: not self._link.full or self._link.sessions != session)
            if self._link.sessions != session:
                return False
            self._link.send(message)
        if self._writing.acquire(blocking=False):
            try:
                self._transmit()
            except OSError:
                return True  # the reading thread meets the same failure
            finally:
                self._writing.release()
        with self._lock:
            self._wake()  # the alarm may have changed, or the message may still be there
        return True

    def reply(self, message: bytes, session: int) -> None:
        """As `send`, without waiting for room: the reading thread would wait for itself."""
        with self._lock:
            if self._link.sessions == session:
                self._link.send(message)
                self._wake()

    def _wake(self) -> None:
        """Wakes the writing thread if it would sleep too long; under the lock."""
        now = time.monotonic()
        wait = self._link.wait(now)
        if wait is not None and now + wait < self._awake:
            self._awake = 0.0
            self._due.notify()

    def _write(self) -> None:
        """Thread: writes what no sender does: replies, acknowledgements, repetitions."""
        while True:
            with self._lock:
                now = time.monotonic()
                wait = self._link.wait(now)
                if wait is None or wait > 0:
                    self._awake = math.inf if wait is None else now + wait
                    self._due.wait(wait)
                    self._awake = 0.0
                    continue
            try:
                with self._writing:
                    self._transmit()
            except OSError:
                return  # the reading thread meets the same failure

    def _transmit(self) -> None:
        """Writes until nothing is due; the caller holds `_writing`."""
        while True:
            with self._lock:
                data = self._link.transmit(time.monotonic())
                if not data:
                    return
                self._room.notify_all()
            self._port.write(data)

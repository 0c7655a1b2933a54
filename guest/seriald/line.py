"""Two threads between a port and the messages: one reads and hands messages on, one writes and repeats.

The port is anything with `read() -> bytes` and `write(bytes)`, both blocking; see `seriald.port`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from seriald.serial_link import SerialLink


class Port(Protocol):
    """The guest's end of the wire."""

    def read(self) -> bytes:
        """Blocks until something has arrived; may return nothing."""

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
        self._changed = threading.Condition()

    def serve(self) -> None:
        """Serves until the port fails; raises its `OSError`."""
        threading.Thread(target=self._write, name="line-writer", daemon=True).start()
        while True:
            data = self._port.read()
            with self._changed:
                before = self._link.sessions
                messages = list(self._link.receive(data, time.monotonic()))
                renewed = self._link.sessions != before
                self._changed.notify_all()
            if renewed:
                self._renewed()
            for message in messages:
                self._received(message)

    @property
    def session(self) -> int:
        """Number of sessions that hosts have begun."""
        return self._link.sessions

    def send(self, message: bytes, session: int) -> bool:
        """Queues a message, waiting for room; False if `session` is over, and the message is of no use."""
        with self._changed:
            self._changed.wait_for(lambda: not self._link.full or self._link.sessions != session)
            if self._link.sessions != session:
                return False
            self._link.send(message)
            self._changed.notify_all()
            return True

    def reply(self, message: bytes, session: int) -> None:
        """As `send`, without waiting for room: the reading thread would wait for itself."""
        with self._changed:
            if self._link.sessions == session:
                self._link.send(message)
                self._changed.notify_all()

    def _write(self) -> None:
        while True:
            with self._changed:
                data = self._link.transmit(time.monotonic())
                if not data:
                    self._changed.wait(self._link.wait(time.monotonic()))
                    continue
                self._changed.notify_all()  # there may be room now
            try:
                self._port.write(data)
            except OSError:
                return  # the reading thread meets the same failure

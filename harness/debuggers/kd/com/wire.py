"""KDCOM on a byte stream: a QEMU serial port as UNIX socket or pty, or a serial device."""

from __future__ import annotations

import os
import select
import socket
import stat
import time
import tty
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.debuggers.kd.com.framing import BREAK_IN, SerialReader, serial_bytes
from harness.debuggers.kd.ids import KDCOM_SYNC, Ids, KdcomIds
from harness.debuggers.kd.packets import Packet
from harness.debuggers.kd.wire import Arrival, Attached
from harness.errors import KdError

READ_SIZE = 4096
SILENCE_S = 1.0
"""Seconds without a byte after which an incomplete packet is given up."""
WRITE_S = 5.0


def open_line(path: Path) -> int:
    """A descriptor of a serial line: a socket, a pty or a device.

    Raises:
        KdError: it does not exist or cannot be opened.
    """
    try:
        if stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(path))
                return os.dup(connection.fileno())
        descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        if os.isatty(descriptor):
            tty.setraw(descriptor)
    except OSError as error:
        raise KdError(
            f"The serial line {path} cannot be opened: {error.strerror}.",
            remedy="Name the socket or pty of the machine's serial port.",
        ) from error
    return descriptor


class KdcomWire:
    """Implements `Wire` on an open descriptor, which it owns.

    Args:
        descriptor: reads and writes the line; it is made non-blocking.
        name: the line's name in messages.
    """

    def __init__(
        self, descriptor: int, name: str, retry_s: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        os.set_blocking(descriptor, False)
        self.ids: Ids = KdcomIds()
        self.retry_s = retry_s
        self._descriptor = descriptor
        self._name = name
        self._reader = SerialReader()
        self._last_byte = 0.0
        self._last: Packet | None = None
        self._clock = clock

    @classmethod
    def open(cls, path: Path) -> KdcomWire:
        """Opens a socket, a pty or a device by its path.

        Raises:
            KdError: it does not exist or cannot be opened.
        """
        return cls(open_line(path), str(path))

    def send(self, packet: Packet) -> None:
        """Sends one packet."""
        self._write(serial_bytes(packet))

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """The packets that the next bytes complete; waits at most `timeout_s` seconds."""
        readable, _, _ = select.select([self._descriptor], [], [], self._patience(timeout_s))
        return self._found(self._read()) if readable else self._silent()

    def break_in(self) -> None:
        """Asks a running target to halt."""
        self._write(BREAK_IN)

    def close(self) -> None:
        """Closes the line."""
        os.close(self._descriptor)

    def _patience(self, timeout_s: float) -> float:
        """Seconds to wait for a byte; fewer while a packet is incomplete."""
        return min(timeout_s, SILENCE_S) if self._reader.waiting else timeout_s

    def _silent(self) -> list[Arrival]:
        """The damaged packet, if the line is silent in the middle of one."""
        if not self._reader.waiting or self._clock() - self._last_byte < SILENCE_S:
            return []
        return [self._reader.give_up(), *self._found(b"")]

    def _read(self) -> bytes:
        self._last_byte = self._clock()
        try:
            data = os.read(self._descriptor, READ_SIZE)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise KdError(f"The serial line {self._name} failed: {error.strerror}.") from error
        if not data:
            raise KdError(
                f"The serial line {self._name} was closed.", remedy="The machine has stopped: start it again."
            )
        return data

    def _found(self, data: bytes) -> list[Arrival]:
        arrivals: list[Arrival] = []
        for found in self._reader.feed(data):
            if isinstance(found, Packet) and not found.control:
                # The first packet of a stream, unless it is a retransmission.
                begins = found.id & KDCOM_SYNC and found != self._last
                if self._last is None or begins:
                    arrivals.append(Attached(self._name, self._last is not None, same_boot=False))
                self._last = found
            arrivals.append(found)
        return arrivals

    def _write(self, data: bytes) -> None:
        until = self._clock() + WRITE_S
        while data:
            _, writable, _ = select.select([], [self._descriptor], [], max(0.0, until - self._clock()))
            if not writable:
                raise KdError(f"The serial line {self._name} does not accept bytes.")
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise KdError(f"The serial line {self._name} failed: {error.strerror}.") from error

"""KDCOM on a byte stream, with listening sockets on which another debugger can take the line over.

One debugger at a time has the line, from its connection until it closes. All bytes are passed on unchanged
and also decoded.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.debuggers.kd.com.framing import SerialReader, serial_bytes
from harness.debuggers.kd.com.wire import READ_SIZE, KdcomWire, open_line
from harness.debuggers.kd.packets import Packet, PacketType, control
from harness.debuggers.kd.wire import Arrival, Attached, HandedOver, Overheard, TakenBack
from harness.errors import HostError, KdError

BACKLOG_LIMIT = 1 << 20
"""Bytes buffered for a debugger that does not read them; beyond that, it is disconnected."""


def listen_unix(path: Path) -> socket.socket:
    """A UNIX socket that only its owner may connect to; replaces a stale one.

    Raises:
        HostError: the socket cannot be created.
    """
    made = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            if path.is_socket():
                path.unlink()
        made.bind(str(path))
        path.chmod(0o600)
        made.listen(1)
    except OSError as error:
        made.close()
        raise HostError(
            f"The socket {path} cannot be created: {error}.", remedy="Use a short path in your own folder."
        ) from error
    return made


def listen_tcp(address: str, port: int) -> socket.socket:
    """A TCP socket for a debugger on another machine.

    Raises:
        HostError: the port is in use or not permitted.
    """
    try:
        return socket.create_server((address, port))
    except OSError as error:
        raise HostError(
            f"Listening on TCP port {port} of {address} failed: {error.strerror}.",
            remedy="End the program that uses the port, or choose another port.",
        ) from error


class KdcomRelayWire(KdcomWire):
    """A `KdcomWire` that hands the line over to a debugger that connects to one of `listeners`.

    Args:
        descriptor: reads and writes the line.
        name: the line's name in messages.
        listeners: listening sockets, which this wire owns.
    """

    def __init__(
        self,
        descriptor: int,
        name: str,
        listeners: Sequence[socket.socket],
        retry_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(descriptor, name, retry_s, clock)
        self._listeners = list(listeners)
        self._debugger: socket.socket | None = None
        self._debugger_name = ""
        self._said = SerialReader()
        self._backlog = bytearray()
        self._reclaimed = threading.Event()
        self._numbering: bool | None = None
        """False until the target answers the RESET of a hand-over, True during that answer, then None."""

    @classmethod
    def between(cls, path: Path, listeners: Sequence[socket.socket]) -> KdcomRelayWire:
        """Relays the serial line at `path`; the listeners are closed if it cannot be opened.

        Raises:
            KdError: the line does not exist or cannot be opened.
        """
        try:
            return cls(open_line(path), str(path), listeners)
        except KdError:
            for listener in listeners:
                _remove(listener)
            raise

    def send(self, packet: Packet) -> None:
        """Sends one packet, unless another debugger has the line."""
        if self._debugger is None:
            super().send(packet)

    def break_in(self) -> None:
        """Asks a running target to halt, unless another debugger has the line."""
        if self._debugger is None:
            super().break_in()

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """What the next bytes from target or debugger complete; waits at most `timeout_s` seconds."""
        debugger = self._debugger
        beside: list[socket.socket] = [*self._listeners, *([debugger] if debugger else [])]
        writing = [debugger] if debugger and self._backlog else []
        reading: list[int | socket.socket] = [self._descriptor, *beside]
        readable, _, _ = select.select(reading, writing, [], self._patience(timeout_s))
        arrivals: list[Arrival] = []
        if self._descriptor in readable:
            arrivals += self._from_target(self._read())
        elif debugger is None:
            arrivals += self._silent()
        if debugger is not None and self._debugger is debugger:
            arrivals += self._pass_on(debugger)
        if debugger is not None and self._debugger is debugger and debugger in readable:
            arrivals += self._from_debugger(debugger)
        if self._reclaimed.is_set():
            self._reclaimed.clear()
            if self._debugger is not None:
                arrivals.append(self._gone())
        for listener in self._listeners:
            if listener in readable:
                arrivals += self._connected(listener)
        return arrivals

    def reclaim(self) -> None:
        """Takes the line back from a debugger that is still connected. Any thread may call it."""
        self._reclaimed.set()

    def close(self) -> None:
        """Closes the line, and the sockets of the debugger."""
        super().close()
        if self._debugger is not None:
            self._debugger.close()
        for listener in self._listeners:
            _remove(listener)

    def _from_target(self, data: bytes) -> list[Arrival]:
        found = self._found(data)
        if self._debugger is None:
            return found
        if self._numbering is None:
            self._backlog += data
        else:
            found = self._numbered_anew(found)
        return [
            Overheard(one, from_debugger=False) if isinstance(one, Packet) else one
            for one in found
            if isinstance(one, Packet | Attached)
        ]

    def _numbered_anew(self, found: Sequence[Arrival]) -> list[Arrival]:
        """Passes on to the debugger only what follows the target's answer to RESET.

        A debugger that has just connected takes a packet with another id than the first for a retransmission.
        A running target reads a RESET only while it waits for an acknowledgement, so each of its data packets
        is answered with one.
        """
        kept: list[Arrival] = []
        for one in found:
            if not isinstance(one, Packet):
                kept.append(one)
            elif self._numbering:
                self._backlog += serial_bytes(one)
                kept.append(one)
            elif one.control and one.type == PacketType.RESET:
                self._numbering = True
                kept.append(one)
            elif not one.control:
                self._write(serial_bytes(control(PacketType.RESET)))
        if self._numbering and self._reader.empty:
            self._numbering = None
        return kept

    def _from_debugger(self, debugger: socket.socket) -> list[Arrival]:
        try:
            data = debugger.recv(READ_SIZE)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            return [self._gone()]
        self._write(data)
        said = [one for one in self._said.feed(data) if isinstance(one, Packet)]
        if self._numbering is False and any(one.control and one.type == PacketType.RESET for one in said):
            self._numbering = None  # the debugger sends the RESET itself
        return [Overheard(one, from_debugger=True) for one in said]

    def _pass_on(self, debugger: socket.socket) -> list[Arrival]:
        try:
            with contextlib.suppress(BlockingIOError):
                while self._backlog:
                    del self._backlog[: debugger.send(self._backlog)]
        except OSError:
            return [self._gone()]
        return [self._gone()] if len(self._backlog) > BACKLOG_LIMIT else []

    def _connected(self, listener: socket.socket) -> list[Arrival]:
        try:
            connection, _ = listener.accept()
        except OSError:
            return []
        if self._debugger is not None:
            connection.close()
            return []
        connection.setblocking(False)
        name = listener.getsockname()
        self._debugger_name = name if isinstance(name, str) else f"{name[0]}:{name[1]}"
        self._debugger, self._said, self._backlog = connection, SerialReader(), bytearray()
        # A halted target reads this RESET and reports its halt again.
        self._numbering = False
        self._write(serial_bytes(control(PacketType.RESET)))
        return [HandedOver(self._debugger_name)]

    def _gone(self) -> TakenBack:
        assert self._debugger is not None
        self._debugger.close()
        self._debugger = self._numbering = None
        return TakenBack(self._debugger_name)


def _remove(listener: socket.socket) -> None:
    """Closes a listening socket, and removes its file if it has one."""
    name = listener.getsockname()
    listener.close()
    if isinstance(name, str):
        with contextlib.suppress(OSError):
            Path(name).unlink()

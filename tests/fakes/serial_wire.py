"""The wire between the host's serial line and the real service: in order, with bytes lost and altered.

A UNIX socket stands for QEMU's; what passes is damaged by a seeded generator, in both directions.
"""

from __future__ import annotations

import random
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from seriald.service import Service


class Damage:
    """Loses, alters and inserts bytes; `rate` is the share of 64-byte pieces that it touches."""

    def __init__(self, rate: float, seed: int = 1) -> None:
        self._rate = rate
        self._random = random.Random(seed)
        self.touched = 0

    def __call__(self, data: bytes) -> bytes:
        """What arrives of these bytes."""
        if not self._rate:
            return data
        arrived = bytearray()
        for at in range(0, len(data), 64):
            piece = bytearray(data[at : at + 64])
            if self._random.random() < self._rate:
                self.touched += 1
                place = self._random.randrange(len(piece))
                how = self._random.randrange(3)
                if how == 0:
                    del piece[place : place + self._random.randint(1, 40)]
                elif how == 1:
                    piece[place] ^= 1 << self._random.randrange(8)
                else:
                    piece[place:place] = self._random.randbytes(self._random.randint(1, 20))
            arrived += piece
        return bytes(arrived)


class SocketPort:
    """The guest's port: one end of a socket, with damage on both ways."""

    def __init__(self, wire: socket.socket, inward: Damage, outward: Damage) -> None:
        self._wire, self._inward, self._outward = wire, inward, outward

    def read(self, count: int) -> bytes:
        """See `seriald.line.Port`; never more than asked for, as a port."""
        data = self._wire.recv(count, socket.MSG_WAITALL)
        if not data:
            raise OSError("the other end is gone")
        return self._inward(data)

    def write(self, data: bytes) -> None:
        """See `seriald.line.Port`."""
        self._wire.sendall(self._outward(data))


class SwitchedPort:
    """A guest's port that outlives the machine's socket, as one does in a saved and restored guest."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._port: SocketPort | None = None
        self._closed = False

    def plug(self, port: SocketPort) -> None:
        """Leads to another socket from now on."""
        with self._changed:
            self._port = port
            self._changed.notify_all()

    def close(self) -> None:
        """Makes `read` fail."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def read(self, count: int) -> bytes:
        """See `seriald.line.Port`; waits while nothing is plugged in."""
        port = self._plugged()
        try:
            return port.read(count)
        except OSError:
            with self._changed:
                if self._port is port:
                    self._port = None
            return b""

    def write(self, data: bytes) -> None:
        """See `seriald.line.Port`; what nobody takes is lost."""
        port = self._port
        if port is not None:
            try:
                port.write(data)
            except OSError:
                return

    def _plugged(self) -> SocketPort:
        with self._changed:
            self._changed.wait_for(lambda: self._port is not None or self._closed)
            if self._closed or self._port is None:
                raise OSError("the guest has ended")
            return self._port


class SerialGuest:
    """A guest with the real service behind a damaged wire; a context manager.

    Args:
        path: of the socket that the host connects to.
        rate, seed: see `Damage`.
    """

    def __init__(self, path: Path, rate: float = 0.0, seed: int = 1) -> None:
        self.path = path
        self.inward, self.outward = Damage(rate, seed), Damage(rate, seed + 1)
        self._port = SwitchedPort()
        self._wires: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self._port.close()

    def hang_up(self) -> None:
        """Closes the wire, as QEMU's end does; the guest goes on."""
        for wire in self._wires:
            try:
                wire.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            self._wires.append(wire)
            self._port.plug(SocketPort(wire, self.inward, self.outward))

    def _serve(self) -> None:
        try:
            Service(self._port).serve()
        except OSError:
            return

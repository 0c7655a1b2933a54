"""A UNIX socket in front of another one: what passes loses, gains and alters bytes, in both directions."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path

from tests.fakes.serial_wire import Damage


class DamagedLine:
    """Serves one client at a time, each with a connection of its own to the target, until `close`.

    Args:
        path: where it listens.
        rate: share of 64-byte pieces that are touched, see `Damage`.

    Attributes:
        damages: of every connection, one for each direction; `touched` says how often they struck.
    """

    def __init__(self, path: Path, target: Path, rate: float, seed: int = 1) -> None:
        self.path = path
        self.damages: list[Damage] = []
        self._target, self._rate, self._seed = target, rate, seed
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(4)
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def touched(self) -> int:
        """Pieces that were damaged so far."""
        return sum(damage.touched for damage in self.damages)

    def close(self) -> None:
        """Ends every connection."""
        for connection in (self._server, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
                guest = socket.socket(socket.AF_UNIX)
                guest.connect(str(self._target))
            except OSError:
                return
            self._open += (client, guest)
            for source, sink in ((client, guest), (guest, client)):
                self.damages.append(Damage(self._rate, self._seed + len(self.damages)))
                threading.Thread(target=_copy, args=(source, sink, self.damages[-1]), daemon=True).start()


def _copy(source: socket.socket, sink: socket.socket, damage: Damage) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(4096):
            sink.sendall(damage(data))
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)

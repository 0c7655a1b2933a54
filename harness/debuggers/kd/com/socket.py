"""KDCOM on a machine's serial port: a UNIX socket that each revert removes and creates anew."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.ids import Ids, KdcomIds
from harness.debuggers.kd.packets import Packet
from harness.debuggers.kd.wire import Arrival
from harness.errors import KdError

RETRY_S = 0.05
"""Seconds between two attempts to connect."""


class KdcomSocket:
    """Implements `Wire`: without a connection it receives nothing, and packets sent are lost.

    Args:
        path: path of the machine's socket; each start of the machine creates a new socket there.
    """

    def __init__(self, path: Path, retry_s: float = 1.0) -> None:
        self.ids: Ids = KdcomIds()
        self.retry_s = retry_s
        self._path = path
        self._line: KdcomWire | None = None

    def send(self, packet: Packet) -> None:
        """Sends one packet; without a connection it is lost."""
        if line := self._connected():
            try:
                line.send(packet)
            except KdError:
                self._drop()

    def receive(self, timeout_s: float) -> Sequence[Arrival]:
        """The packets that the next bytes complete; waits at most `timeout_s` seconds."""
        if line := self._connected():
            try:
                return line.receive(timeout_s)
            except KdError:
                self._drop()
        time.sleep(min(timeout_s, RETRY_S))
        return ()

    def break_in(self) -> None:
        """Asks a running target to halt."""
        if line := self._connected():
            try:
                line.break_in()
            except KdError:
                self._drop()

    def close(self) -> None:
        """Closes the line."""
        self._drop()

    def _connected(self) -> KdcomWire | None:
        if self._line is None:
            try:
                self._line = KdcomWire.open(self._path)
            except KdError:
                return None
        return self._line

    def _drop(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

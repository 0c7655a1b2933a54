"""Runs fake targets on real lines, in a thread: UDP with loss and reordering, and a serial socket."""

from __future__ import annotations

import os
import random
import select
import socket
import threading
import time
from typing import Any

from harness.debuggers.kd.com.framing import serial_bytes
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.packets import PacketType, control
from tests.fakes.kd_target import KdcomTarget, KdnetTarget, Machine


class Weather:
    """What happens to datagrams on their way, both ways: lost, doubled, or delivered after later ones.

    While it is `deaf`, nothing reaches the target.
    """

    def __init__(self, loss: float = 0.0, double: float = 0.0, late: float = 0.0, seed: int = 1) -> None:
        self.loss, self.double, self.late = loss, double, late
        self.deaf = False
        self._random = random.Random(seed)
        self._held: dict[bool, list[bytes]] = {False: [], True: []}

    def pass_on(self, data: bytes, *, to_host: bool) -> list[bytes]:
        held = self._held[to_host]
        if self._random.random() < self.loss or (self.deaf and not to_host):
            return []
        if self._random.random() < self.late:
            held.append(data)
            return []
        arriving = [data, *held]
        held.clear()
        return arriving * 2 if self._random.random() < self.double else arriving


class UdpTarget:
    """A kernel on the network. `restart` boots another one in its place: new nonce, new port, no key."""

    def __init__(
        self,
        port: int,
        key: Key,
        kernel: Machine,
        weather: Weather | None = None,
        poke_s: float = 0.05,
        retry_s: float = 0.005,
        own: str = "127.0.0.1",
        host: str = "127.0.0.1",
    ) -> None:
        self._own, self._host = own, (host, port)
        self._key, self._weather = key, weather or Weather()
        self._poke_s, self._retry_s = poke_s, retry_s
        self._stop = threading.Event()
        self._boot(kernel)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def restart(self, kernel: Machine) -> None:
        self.close()
        self._stop = threading.Event()
        self._boot(kernel)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._socket.close()

    def _boot(self, kernel: Machine) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((self._own, 0))
        self.target = KdnetTarget(kernel, self._key, os.urandom(32), host=self._host)
        self.kernel: Any = kernel

    def _run(self) -> None:
        next_poke = last = 0.0
        while not self._stop.is_set():
            now = time.monotonic()
            if now >= next_poke:
                self.target.poke()
                next_poke = now + self._poke_s
            if self.target.connected:
                self.target.run()
            if self.target.idle or not self.target.connected:
                last = now
            elif now - last >= self._retry_s:
                self.target.timeout()
                last = now
            self._flush()
            busy = not self.target.idle
            self._socket.settimeout(self._retry_s if busy else min(0.02, self._poke_s))
            try:
                data = self._socket.recv(8192)
            except TimeoutError:
                continue
            for arriving in self._weather.pass_on(data, to_host=False):
                before = len(self.target.outbox)
                self.target.receive(arriving)
                last = time.monotonic() if len(self.target.outbox) != before else last

    def _flush(self) -> None:
        while self.target.outbox:
            data = self.target.outbox.popleft()
            for arriving in self._weather.pass_on(data, to_host=True):
                self._socket.sendto(arriving, self._host)


class UdpPath:
    """Forwards datagrams to the UDP port `to`, and the answers back, both with loss and reordering."""

    def __init__(self, to: int, weather: Weather) -> None:
        self._to, self._weather = ("127.0.0.1", to), weather
        self._near, self._far = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._near.bind(("127.0.0.1", 0))
        self._far.bind(("127.0.0.1", 0))
        self.port: int = self._near.getsockname()[1]
        self._from: tuple[str, int] | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._near.close()
        self._far.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            readable, _, _ = select.select([self._near, self._far], [], [], 0.05)
            for one in readable:
                data, source = one.recvfrom(8192)
                outward = one is self._near
                if outward:
                    self._from = source
                for arriving in self._weather.pass_on(data, to_host=outward):
                    if outward:
                        self._far.sendto(arriving, self._to)
                    elif self._from is not None:
                        self._near.sendto(arriving, self._from)


class Noise:
    """What happens to bytes on a serial line, both ways, by their shares.

    Of what is written at once, all is `lost`, the end is `cut` off, or one byte is `wrong`. `resets` is the
    share of packets of the target after which it starts over and sends a RESET.
    """

    def __init__(
        self, lost: float = 0.0, cut: float = 0.0, wrong: float = 0.0, resets: float = 0.0, seed: int = 1
    ) -> None:
        self._shares, self._resets = (lost, cut, wrong), resets
        self._random = random.Random(seed)

    def pass_on(self, data: bytes) -> bytes:
        lost, cut, wrong = (self._random.random() < share for share in self._shares)
        if lost:
            return b""
        at = self._random.randrange(len(data))
        if cut:
            return data[:at]
        return data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :] if wrong else data

    def resets(self) -> bool:
        """Whether the target is to start over now."""
        return self._random.random() < self._resets


class SerialTarget:
    """A kernel on `connection`, or on one end of a socket pair; `line` is the other end's descriptor then.

    `garbage` comes before every packet of the target.
    """

    def __init__(
        self,
        kernel: Machine,
        garbage: bytes = b"",
        noise: Noise | None = None,
        connection: socket.socket | None = None,
        retry_s: float = 0.05,
    ) -> None:
        self.line = -1
        if connection is None:
            connection, other = socket.socketpair()
            self.line = other.detach()
        self._socket = connection
        self.kernel: Any = kernel
        self.target = KdcomTarget(kernel)
        self._rebooted: Machine | None = None
        self._garbage, self._noise, self._retry_s = garbage, noise or Noise(), retry_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._socket.close()

    def restart(self, kernel: Machine) -> None:
        """Boots another kernel on the same line, possibly in the middle of an exchange."""
        self._rebooted = kernel

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._rebooted is not None:
                self.kernel, self._rebooted = self._rebooted, None
                self.target = KdcomTarget(self.kernel)
            self.target.run()
            while self.target.outbox:
                data = self.target.outbox.popleft()
                # A RESET is never lost: a target does not send it again.
                lossy = data != serial_bytes(control(PacketType.RESET, self.target.next_id))
                self._socket.sendall(self._garbage + (self._noise.pass_on(data) if lossy else data))
                if self._noise.resets():
                    self.target.start_over()
            readable, _, _ = select.select([self._socket], [], [], self._retry_s)
            if not readable:
                self.target.timeout()
                continue
            data = self._socket.recv(4096)
            if not data:
                return
            self.target.receive(self._noise.pass_on(data))

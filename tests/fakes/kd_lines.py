"""Runs fake targets on real lines, in a thread: UDP with weather, and a serial socket."""

from __future__ import annotations

import os
import random
import select
import socket
import threading
import time

from harness.debuggers.kd.key import Key
from tests.fakes.kd_machine import FakeKernel
from tests.fakes.kd_target import KdcomTarget, KdnetTarget


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
        kernel: FakeKernel,
        weather: Weather | None = None,
        poke_s: float = 0.05,
        retry_s: float = 0.005,
    ) -> None:
        self._host = ("127.0.0.1", port)
        self._key, self._weather = key, weather or Weather()
        self._poke_s, self._retry_s = poke_s, retry_s
        self._stop = threading.Event()
        self._boot(kernel)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def restart(self, kernel: FakeKernel) -> None:
        self.close()
        self._stop = threading.Event()
        self._boot(kernel)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._socket.close()

    def _boot(self, kernel: FakeKernel) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.target = KdnetTarget(kernel, self._key, os.urandom(32), host=self._host)
        self.kernel = kernel

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
    """A way with weather to the UDP port `to`; what answers there comes back the same way."""

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


class SerialTarget:
    """A kernel on `connection`, or on one end of a socket pair; `line` is the other end's descriptor then.

    `garbage` comes before every packet; `damage` is the share of packets with a wrong byte.
    """

    def __init__(
        self,
        kernel: FakeKernel,
        garbage: bytes = b"",
        damage: float = 0.0,
        seed: int = 1,
        connection: socket.socket | None = None,
    ) -> None:
        self.line = -1
        if connection is None:
            connection, other = socket.socketpair()
            self.line = other.detach()
        self._socket = connection
        self.kernel = kernel
        self.target = KdcomTarget(kernel)
        self._rebooted: FakeKernel | None = None
        self._garbage, self._damage = garbage, damage
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        self._socket.close()

    def restart(self, kernel: FakeKernel) -> None:
        """Boots another kernel on the same line, in the middle of whatever is said."""
        self._rebooted = kernel

    def _run(self) -> None:
        while not self._stop.is_set():
            if self._rebooted is not None:
                self.kernel, self._rebooted = self._rebooted, None
                self.target = KdcomTarget(self.kernel)
            self.target.run()
            while self.target.outbox:
                self._socket.sendall(self._garbage + self._damaged(self.target.outbox.popleft()))
            readable, _, _ = select.select([self._socket], [], [], 0.05)
            if not readable:
                self.target.timeout()
                continue
            data = self._socket.recv(4096)
            if not data:
                return
            self.target.receive(data)

    def _damaged(self, data: bytes) -> bytes:
        if self._random.random() >= self._damage:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes((data[at] ^ 0x55,)) + data[at + 1 :]

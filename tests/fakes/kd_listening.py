"""A debugger host that runs in a thread, and what starts such hosts and their targets for a test."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.host import Event, KdHost
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.wire import KdnetWire
from harness.debuggers.kd.wire import Wire
from harness.dumps.symbol_path import SymbolPath
from tests.fakes.kd_lines import Noise, SerialTarget, UdpTarget, Weather
from tests.fakes.kd_machine import FakeKernel
from tests.fakes.kd_target import Machine

KEY = Key.parse("1a2b.zz.10.3w5e")
FATAL = (
    "\n*** Fatal System Error: 0x000000d1\n                       "
    "(0x0000000000000010,0x0000000000000002,0x0000000000000001,0xFFFFF80200001234)\n\n"
)
STORM = {"loss": 0.2, "double": 0.2, "late": 0.2}


class Listening:
    """A host that runs in a thread, with the events it reported; `resets` is the share of steps with one."""

    def __init__(
        self,
        wire: Wire,
        *,
        hold: bool = False,
        patience_s: float = 10.0,
        resets: float = 0.0,
        symbols: SymbolPath | None = None,
    ) -> None:
        self._resets, self._random = resets, random.Random(1)
        self.events: list[Event] = []
        self.host = KdHost(wire, self.events.append, hold=hold, patience_s=patience_s, symbols=symbols)
        self._stop = threading.Event()
        self._asleep = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._asleep:
                if self._random.random() < self._resets:
                    self.host._link.reset()
                self.host.step(0.02)
            time.sleep(0)  # otherwise a caller of `sleep` would wait for long

    def pause(self) -> None:
        """Stops the host's thread without closing anything, like a debugger that is itself debugged."""
        self._asleep.acquire()

    def go_on(self) -> None:
        self._asleep.release()

    def of(self, kind: str) -> list[Event]:
        return [event for event in list(self.events) if event.kind == kind]

    @property
    def text(self) -> str:
        return "".join(str(event.fields["text"]) for event in self.of("dbgprint"))

    def wait(self, condition: Callable[[], bool], seconds: float = 20.0) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, self.events[-5:]
            time.sleep(0.002)

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5.0)
        assert not self._thread.is_alive()
        self.host.close()


class Bench:
    """Starts hosts and targets, and ends them."""

    def __init__(self) -> None:
        self._open: list[Listening | UdpTarget | SerialTarget] = []

    def kdnet(
        self, kernel: FakeKernel, weather: Weather | None = None, *, key: Key = KEY, hold: bool = False
    ) -> tuple[Listening, UdpTarget]:
        wire = KdnetWire(KEY, 0, retry_s=0.005)
        host, target = Listening(wire, hold=hold), UdpTarget(wire.port, key, kernel, weather)
        self._open += [target, host]
        return host, target

    def serial(
        self,
        kernel: Machine,
        garbage: bytes = b"",
        noise: Noise | None = None,
        retry_s: float = 0.05,
        resets: float = 0.0,
    ) -> tuple[Listening, SerialTarget]:
        target = SerialTarget(kernel, garbage, noise, retry_s=retry_s)
        host = Listening(KdcomWire(target.line, "socket pair", retry_s=retry_s), resets=resets)
        self._open += [host, target]
        return host, target

    def close(self) -> None:
        for one in self._open:
            one.close()


def lines(count: int, name: str = "line") -> list[str]:
    return [f"{name} {number}\n" for number in range(count)]

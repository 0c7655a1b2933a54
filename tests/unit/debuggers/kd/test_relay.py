"""A target between winvm and another debugger, which comes and goes: nothing it prints is lost or doubled.

The other debugger is this project's own host, without the relay; the target is the fake one.
"""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.debuggers.kd.com.relay import KdcomRelayWire, listen_unix
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.host import KdHost
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.manipulate import Api
from harness.debuggers.kd.net.relay import KdnetRelayWire
from harness.debuggers.kd.net.wire import KdnetWire
from harness.debuggers.kd.wire import HandedOver, TakenBack
from harness.errors import HostError
from tests.fakes.kd_lines import SerialTarget, UdpPath, UdpTarget, Weather
from tests.fakes.kd_listening import FATAL, KEY, STORM, Listening, lines
from tests.fakes.kd_machine import FakeKernel, exception, load_symbols, printed, prompt

Debuggers = Callable[..., Listening]


class Relay:
    """winvm between the two. `debugger` starts another debugger; `kill` ends it without closing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: list[Any] = []

    def kdnet(self, kernel: FakeKernel, weather: dict[str, Any] | None = None) -> tuple[Listening, UdpTarget]:
        free = KdnetWire(KEY, 0)
        self._port = free.port
        free.close()
        path = UdpPath(self._port, Weather(**weather, seed=2)) if weather else None
        to = ("127.0.0.1", path.port if path else self._port)
        wire = self.wire = KdnetRelayWire(KEY, 0, to, retry_s=0.005, gone_s=0.3)
        winvm = Listening(wire)
        target = UdpTarget(wire.port, KEY, kernel, Weather(**weather) if weather else None)
        self._open += [target, winvm, *([path] if path else [])]
        return winvm, target

    def serial(self, kernel: FakeKernel) -> tuple[Listening, SerialTarget]:
        target = SerialTarget(kernel)
        wire = KdcomRelayWire(target.line, "line", [listen_unix(self._folder / "kd")], retry_s=0.05)
        winvm = Listening(wire)
        self._open += [winvm, target]
        self._port = 0
        return winvm, target

    def debugger(self, *, hold: bool = False, key: Key = KEY) -> Listening:
        wire = (
            KdnetWire(key, self._port, retry_s=0.005) if self._port else KdcomWire.open(self._folder / "kd")
        )
        wire.retry_s = 0.02
        made = Listening(wire, hold=hold)
        self._open.insert(0, made)
        return made

    def kill(self, debugger: Listening) -> None:
        self._open.remove(debugger)
        debugger.close()

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Relay]:
    relay = Relay(tmp_path)
    yield relay
    relay.close()


def started(relay: Relay, line: str, kernel: FakeKernel) -> tuple[Listening, Any]:
    if line == "serial":
        return relay.serial(kernel)
    return relay.kdnet(kernel, STORM if line == "storm" else None)


every_line = pytest.mark.parametrize("line", ["kdnet", "storm", "serial"])


@every_line
def test_a_debugger_that_comes_and_goes_costs_no_line(relay: Relay, line: str) -> None:
    kernel = FakeKernel(map(printed, lines(20, "before")))
    winvm, _ = started(relay, line, kernel)
    winvm.wait(lambda: winvm.text.endswith("before 19\n"))
    expected = lines(20, "before")
    for turn in range(2):
        name = f"turn {turn}"
        one_visit(relay, winvm, kernel, name)
        expected += lines(120, name)
        assert len(winvm.of("taken-back")) > turn
    assert winvm.text == "".join(expected)


def one_visit(relay: Relay, winvm: Listening, kernel: FakeKernel, name: str) -> None:
    """The target prints 120 lines; after some of them a debugger that has it is killed."""
    before = len(winvm.of("handed-over"))
    debugger = relay.debugger()
    winvm.wait(lambda: len(winvm.of("handed-over")) > before)
    kernel.script.extend(map(printed, lines(120, name)))
    winvm.wait(lambda: f"{name} 40\n" in winvm.text)
    debugger.wait(lambda: f"{name} 40\n" in debugger.text)
    relay.kill(debugger)
    winvm.wait(lambda: winvm.text.endswith(f"{name} 119\n"))


@every_line
def test_a_target_that_the_debugger_left_halted_goes_on(relay: Relay, line: str) -> None:
    kernel = FakeKernel([printed("up\n")])
    winvm, _ = started(relay, line, kernel)
    winvm.wait(lambda: winvm.text == "up\n")
    debugger = relay.debugger(hold=True)
    debugger.host.break_in()
    debugger.wait(lambda: debugger.host.held)
    kernel.script.append(printed("on\n"))
    assert winvm.text == "up\n"
    relay.kill(debugger)
    if line == "storm":
        relay.wire.reclaim()  # through the lossy forwarder no error reports that the port is closed
    winvm.wait(lambda: winvm.text == "up\non\n")
    assert kernel.asked[-1].api == Api.CONTINUE2
    assert winvm.of("exception")


@every_line
def test_the_debugger_sees_what_it_asks_for_and_winvm_keeps_out(relay: Relay, line: str) -> None:
    kernel = FakeKernel([printed("up\n")])
    winvm, _ = started(relay, line, kernel)
    winvm.wait(lambda: winvm.text == "up\n")
    debugger = relay.debugger()
    winvm.wait(lambda: bool(winvm.of("handed-over")))
    debugger.host.break_in()
    debugger.wait(lambda: bool(debugger.of("break-in")))
    registers = debugger.of("break-in")[0].fields["registers"]
    assert isinstance(registers, dict)
    assert registers["1"]["rbx"] == 1
    kernel.rcx.append(3)
    kernel.bugchecked(0xD1, 0x10, 2, 1, 0xFFFFF80200001234)
    kernel.script.extend([load_symbols("a.sys", 0x1000, 0x1000), printed(FATAL), exception(0x80000003)])
    kernel.script.extend([prompt("(bi)? "), printed("end\n")])
    winvm.wait(lambda: winvm.text.endswith("(bi)? end\n"))
    debugger.wait(lambda: bool(debugger.of("bugcheck")))
    assert [event.fields["code"] for event in debugger.of("bugcheck")] == [0xD1]
    assert [event.fields["path"] for event in winvm.of("load-symbols")] == ["a.sys"]
    assert len(kernel.answers) == 1, "one of the two answers the prompt"
    assert not winvm.of("break-in")


@pytest.mark.parametrize("line", ["kdnet", "storm"])
def test_a_target_that_restarts_meets_the_debugger_again_or_winvm(relay: Relay, line: str) -> None:
    winvm, target = started(relay, line, FakeKernel([printed("first\n")]))
    winvm.wait(lambda: winvm.text == "first\n")
    debugger = relay.debugger()
    winvm.wait(lambda: bool(winvm.of("handed-over")))
    target.restart(FakeKernel([printed("second\n")]))
    debugger.wait(lambda: debugger.text.endswith("second\n"))
    winvm.wait(lambda: winvm.text == "first\nsecond\n")
    relay.kill(debugger)
    target.restart(FakeKernel([printed("third\n")]))
    winvm.wait(lambda: winvm.text == "first\nsecond\nthird\n")
    assert len(winvm.of("taken-back")) >= 1


def test_a_debugger_with_another_key_gets_nothing(relay: Relay) -> None:
    kernel = FakeKernel([printed("up\n")])
    winvm, _ = relay.kdnet(kernel)
    debugger = relay.debugger(key=Key.parse("1.2.3.4"))
    debugger.wait(lambda: bool(debugger.of("wrong-key")))
    kernel.script.append(printed("on\n"))
    winvm.wait(lambda: winvm.text == "up\non\n")
    assert debugger.text == ""
    assert not winvm.of("handed-over")


def test_a_debugger_that_falls_silent_is_taken_for_gone_and_gets_the_target_again(relay: Relay) -> None:
    kernel = FakeKernel([printed("up\n")])
    winvm, _ = relay.kdnet(kernel)
    debugger = relay.debugger()
    debugger.wait(lambda: bool(debugger.of("attached")))
    debugger.pause()
    kernel.script.append(printed("on\n"))
    winvm.wait(lambda: bool(winvm.of("taken-back")))
    debugger.go_on()
    debugger.host.break_in()
    debugger.wait(lambda: bool(debugger.of("break-in")))
    kernel.script.append(printed("end\n"))
    winvm.wait(lambda: winvm.text.endswith("end\n"))
    assert winvm.text == "up\non\nend\n"


def test_one_debugger_at_a_time_has_the_line(relay: Relay, tmp_path: Path) -> None:
    winvm, _ = relay.serial(FakeKernel([printed("up\n")]))
    relay.debugger()
    winvm.wait(lambda: bool(winvm.of("handed-over")))
    with socket.socket(socket.AF_UNIX) as second:
        second.settimeout(10)
        second.connect(str(tmp_path / "kd"))
        assert second.recv(1) == b""


def test_the_socket_is_private_and_replaces_a_dead_one(tmp_path: Path) -> None:
    listen_unix(tmp_path / "kd").close()
    listener = listen_unix(tmp_path / "kd")
    assert stat.S_IMODE((tmp_path / "kd").stat().st_mode) == 0o600
    listener.close()
    with pytest.raises(HostError, match="cannot be created"):
        listen_unix(tmp_path / ("x" * 200))


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(HostError, match="cannot be used"):
        KdnetRelayWire(KEY, 0, ("no.such.host.invalid", 50000))


def test_what_is_open_at_a_hand_over_that_ends_at_once_is_answered() -> None:
    """A late datagram of a debugger that is gone hands the target over, for a moment."""
    near, far = socket.socketpair()
    with near, far:
        host = KdHost(KdcomWire(near.detach(), "line"), lambda _event: None)
        halt = exception(0x80000003)
        host._delivered(halt)
        host._noticed(HandedOver("debugger"))
        assert host.relayed
        host._noticed(TakenBack("debugger"))
        assert list(host._queue) == [halt]
        host.close()

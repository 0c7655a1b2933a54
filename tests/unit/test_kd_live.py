"""The live host against a fake target on real lines: loss, restarts, breaks, bugchecks, wrong keys."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.debuggers.kd_host import Event, KdHost
from harness.debuggers.kd_io import STATUS_NO_SUCH_FILE
from harness.debuggers.kd_key import Key
from harness.debuggers.kd_manipulate import HANDLED, NOT_HANDLED, Api, Manipulate
from harness.debuggers.kd_wire import Wire
from harness.debuggers.kdcom import serial_bytes
from harness.debuggers.kdcom_wire import KdcomWire
from harness.debuggers.kdnet_wire import KdnetWire
from harness.debuggers.packets import Packet
from harness.errors import KdError
from tests.fakes.kd_lines import SerialTarget, UdpTarget, Weather
from tests.fakes.kd_machine import (
    BREAK_PC,
    DATA_LIST,
    KERNEL_BASE,
    MODULE_LIST,
    MODULES,
    STACK,
    FakeKernel,
    exception,
    file_request,
    load_symbols,
    printed,
    prompt,
)

KEY = Key.parse("1a2b.zz.10.3w5e")
FATAL = (
    "\n*** Fatal System Error: 0x000000d1\n                       "
    "(0x0000000000000010,0x0000000000000002,0x0000000000000001,0xFFFFF80200001234)\n\n"
)


class Listening:
    """A host that runs in a thread, with the events it told."""

    def __init__(self, wire: Wire, *, hold: bool = False, patience_s: float = 10.0) -> None:
        self.events: list[Event] = []
        self.host = KdHost(wire, self.events.append, hold=hold, patience_s=patience_s)
        self._stop = threading.Event()
        self._asleep = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with self._asleep:
                self.host.step(0.02)
            time.sleep(0)  # or whoever wants it asleep would wait for long

    def pause(self) -> None:
        """Does nothing any more, like a debugger that is itself debugged."""
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
        self, kernel: FakeKernel, garbage: bytes = b"", damage: float = 0.0
    ) -> tuple[Listening, SerialTarget]:
        target = SerialTarget(kernel, garbage, damage)
        host = Listening(KdcomWire(target.line, "socket pair", retry_s=0.05))
        self._open += [host, target]
        return host, target

    def close(self) -> None:
        for one in self._open:
            one.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


def lines(count: int, name: str = "line") -> list[str]:
    return [f"{name} {number}\n" for number in range(count)]


STORM = {"loss": 0.2, "double": 0.2, "late": 0.2}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("weather", [{}, {"loss": 0.2}, {"double": 0.5}, {"late": 0.3}, STORM], ids=str)
def test_every_line_is_printed_once_and_in_order(bench: Bench, weather: dict[str, Any], seed: int) -> None:
    expected = lines(60)
    host, _ = bench.kdnet(FakeKernel(map(printed, expected)), Weather(**weather, seed=seed))
    host.wait(lambda: host.text.endswith(expected[-1]))
    time.sleep(0.05)
    assert host.text == "".join(expected)


@pytest.mark.parametrize("weather", [{}, STORM], ids=str)
def test_halts_are_continued_and_files_refused(bench: Bench, weather: dict[str, Any]) -> None:
    script = [
        load_symbols(r"\SystemRoot\system32\ntoskrnl.exe", KERNEL_BASE, 0x800000),
        printed("one\n"),
        file_request(r"\SystemRoot\system32\drivers\winvm.sys"),
        exception(0xC0000005),
        prompt("Break, Ignore (bi)? "),
        exception(0x80000003),
        load_symbols("", 0xFFFFFFFFFFFFFFFF, 0, unload=True),
        printed("last\n"),
    ]
    kernel = FakeKernel(script)
    host, _ = bench.kdnet(kernel, Weather(**weather))
    host.wait(lambda: host.text.endswith("last\n"))
    kinds = [event.kind for event in host.events if event.kind != "attached"]
    assert kinds == [
        "load-symbols", "dbgprint", "file-io", "exception", "dbgprint", "exception", "unload-symbols",
        "dbgprint",
    ]  # fmt: skip
    file_answer, prompt_answer = kernel.answers
    assert int.from_bytes(file_answer.payload[4:8], "little") == STATUS_NO_SUCH_FILE
    assert prompt_answer.payload[16:] == b"i"
    continued = [request.union[:4] for request in kernel.asked if request.api == Api.CONTINUE2]
    statuses = [int.from_bytes(status, "little") for status in continued]
    assert statuses == [0x00010002, NOT_HANDLED, HANDLED, 0x00010002]
    moved = [request for request in kernel.asked if request.api == Api.SET_CONTEXT]
    # A request whose reply got lost is made again.
    assert {int.from_bytes(request.data[0xF8:0x100], "little") for request in moved} == {BREAK_PC + 1}


def test_the_boot_debugger_is_moved_past_its_symbol_report(bench: Bench) -> None:
    kernel = FakeKernel([load_symbols("winload.efi", 0x96F000, 0x17D000), printed("on\n")])
    kernel.boot_debugger = True
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text == "on\n")
    assert int.from_bytes(kernel.contexts[0][0xF8:0x100], "little") == BREAK_PC + 1


def bugcheck_script() -> list[Packet]:
    return [printed(FATAL[:30]), printed(FATAL[30:]), exception(0x80000003), printed("dump written\n")]


@pytest.mark.parametrize("weather", [{}, STORM], ids=str)
def test_a_bugcheck_is_reported_with_what_can_be_read(bench: Bench, weather: dict[str, Any]) -> None:
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.bugchecked(0xD1, 0x10, 2, 1, 0xFFFFF80200001234)
    host, _ = bench.kdnet(kernel, Weather(**weather))
    host.wait(lambda: host.text.endswith("dump written\n"))
    (event,) = host.of("bugcheck")
    found = event.fields
    assert (found["code"], found["parameters"]) == (0xD1, [0x10, 2, 1, 0xFFFFF80200001234])
    assert found["build"] == 19045
    assert found["modules"] == [{"path": path, "base": base, "size": size} for path, base, size in MODULES]
    assert found["stack"] == list(range(0x1000, 0x1080))
    registers = found["registers"]
    assert isinstance(registers, dict)
    assert (registers["rsp"], registers["rcx"], registers["rip"]) == (STACK, 3, BREAK_PC)
    assert found["fault"] == "winvm.sys+0x1234"


@pytest.mark.parametrize("code", [0x3B, 0x8E])
def test_registers_and_stack_are_those_of_the_fault(code: int, bench: Bench) -> None:
    record, rip = STACK + 0x800, 0xFFFFF80200005678
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.bugchecked(code, 0xC0000005, rip, record, 0)
    if code == 0x3B:  # CONTEXT: flags, Rsp, Rip
        kernel.write(record + 0x30, struct.pack("<I", 0x10001F))
        kernel.write(record + 0x98, struct.pack("<Q", STACK + 0x200))
        kernel.write(record + 0xF8, struct.pack("<Q", rip))
    else:  # KTRAP_FRAME
        kernel.write(record + 0x168, struct.pack("<Q", rip))
        kernel.write(record + 0x180, struct.pack("<Q", STACK + 0x200))
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("dump written\n"))
    found = host.of("bugcheck")[0].fields
    registers, stack = found["registers"], found["stack"]
    assert isinstance(registers, dict)
    assert isinstance(stack, list)
    assert (registers["rsp"], registers["rip"]) == (STACK + 0x200, rip)
    assert stack[:2] == [0x1040, 0x1041]
    assert found["fault"] == "winvm.sys+0x5678"


def test_a_bugcheck_whose_memory_cannot_be_read_is_reported_as_printed(bench: Bench) -> None:
    kernel = FakeKernel(bugcheck_script())
    kernel.rcx.append(3)
    kernel.memory.clear()
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("dump written\n"))
    (event,) = host.of("bugcheck")
    assert (event.fields["code"], event.fields["stack"]) == (0xD1, [])
    unread = [f"Memory at {address:#x} cannot be read." for address in (DATA_LIST, MODULE_LIST)]
    assert event.fields["unread"] == unread


def test_a_bugcheck_without_the_halt_that_should_follow_is_reported(bench: Bench) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.005)
    host = Listening(wire, patience_s=0.2)
    target = UdpTarget(wire.port, KEY, FakeKernel([printed(FATAL)]))
    bench._open += [target, host]
    host.wait(lambda: bool(host.of("bugcheck")))
    assert host.of("bugcheck")[0].fields["halted"] is False
    target.restart(FakeKernel([printed(FATAL)]))
    host.wait(lambda: len(host.of("bugcheck")) == 2)


def test_of_another_machine_no_registers_are_made_up(bench: Bench) -> None:
    kernel = FakeKernel([printed("up\n")])
    kernel.machine = 0xAA64
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text == "up\n")
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    assert host.of("break-in")[0].fields == {
        "processors": 2, "unread": ["The registers of machine 0xaa64 are not known."]
    }  # fmt: skip
    kernel.rcx.append(3)
    kernel.script.extend(bugcheck_script())
    host.wait(lambda: host.text.endswith("dump written\n"))
    found = host.of("bugcheck")[0].fields
    assert found["code"] == 0xD1
    assert "registers" not in found
    assert found["modules"]
    assert not [request for request in kernel.asked if request.api == Api.SET_CONTEXT]


class Mute(FakeKernel):
    """A kernel too broken to say anything of itself; it still goes on when told to."""

    def reply(self, request: Manipulate) -> bytes:
        self.asked.append(request)
        return b""


def test_a_kernel_that_answers_nothing_is_reported_in_time_and_let_go_on(bench: Bench) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.005)
    host = Listening(wire, patience_s=0.3)
    target = UdpTarget(wire.port, KEY, Mute([load_symbols("a.sys", 1, 1), *bugcheck_script()]))
    bench._open += [target, host]
    host.wait(lambda: host.text.endswith("dump written\n"))
    (event,) = host.of("bugcheck")
    assert (event.fields["code"], event.fields["parameters"]) == (0xD1, [0x10, 2, 1, 0xFFFFF80200001234])
    assert len(host.of("load-symbols")) == 1
    assert host.of("exception")


def test_a_target_that_stood_still_for_long_is_let_go_on_afterwards(bench: Bench) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.005)
    host = Listening(wire, patience_s=0.2)
    weather = Weather()
    target = UdpTarget(wire.port, KEY, FakeKernel([printed("up\n")]), weather)
    bench._open += [target, host]
    host.wait(lambda: host.text == "up\n" and target.target.idle)  # or it would wait for the acknowledgement
    weather.deaf = True
    target.kernel.script.extend([load_symbols("a.sys", 1, 1), printed("on\n")])
    host.wait(lambda: bool(host.of("warning")))
    weather.deaf = False
    host.wait(lambda: host.text == "up\non\n")
    assert len(host.of("load-symbols")) == 1


def test_a_bugcheck_that_prints_nothing_is_found_in_memory(bench: Bench) -> None:
    kernel = FakeKernel([exception(0x80000003), printed("on\n")])
    kernel.rcx.append(4)
    kernel.bugchecked(0xE2, 1, 2, 3, 4)
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: bool(host.of("bugcheck")) and host.text == "on\n")
    assert host.of("bugcheck")[0].fields["code"] == 0xE2


def test_the_break_after_a_dump_is_not_continued_for_ever(bench: Bench) -> None:
    kernel = FakeKernel([printed(FATAL), exception(0x80000003), exception(0x80000003), printed("never\n")])
    kernel.rcx.extend([3, 4])
    host, target = bench.kdnet(kernel)
    host.wait(lambda: bool(host.of("held")))
    assert len(host.of("bugcheck")) == 1
    kernel_2 = FakeKernel([printed("up again\n")])
    target.restart(kernel_2)
    host.wait(lambda: host.text.endswith("up again\n"))
    assert "never" not in host.text
    assert not host.host.held


@pytest.mark.parametrize("weather", [{}, STORM], ids=str)
def test_a_target_that_restarts_in_mid_stream_is_heard_again(bench: Bench, weather: dict[str, Any]) -> None:
    endless = FakeKernel(map(printed, lines(100_000, "first")))
    host, target = bench.kdnet(endless, Weather(**weather))
    host.wait(lambda: "first 30\n" in host.text)
    expected = lines(50, "second")
    target.restart(FakeKernel(map(printed, expected)))
    host.wait(lambda: host.text.endswith(expected[-1]))
    first, _, second = host.text.partition("second 0\n")
    assert "second 0\n" + second == "".join(expected)
    assert first == "".join(lines(first.count("\n"), "first"))
    assert [event.fields["restarted"] for event in host.of("attached")] == [False, True]


def test_a_host_that_comes_later_takes_the_target_over(bench: Bench) -> None:
    kernel = FakeKernel(map(printed, lines(30)))
    host, target = bench.kdnet(kernel)
    host.wait(lambda: host.text.endswith("line 29\n"))
    port = target._host[1]
    host.close()
    bench._open.remove(host)
    again = Listening(KdnetWire(KEY, port, retry_s=0.01))
    bench._open.append(again)
    kernel.script.extend(map(printed, lines(5, "more")))
    again.wait(lambda: again.text.endswith("more 4\n"))
    assert again.text == "".join(lines(5, "more"))


def test_a_target_that_another_host_left_halted_is_found_by_a_break_in(bench: Bench) -> None:
    host, target = bench.kdnet(FakeKernel([exception(0x80000003), printed("on\n")]), hold=True)
    host.wait(lambda: host.host.held)
    port = target._host[1]
    host.close()
    bench._open.remove(host)
    again = Listening(KdnetWire(KEY, port, retry_s=0.005))
    bench._open.append(again)
    again.host.break_in()
    again.wait(lambda: again.text == "on\n")


def test_another_key_is_refused_once_and_nothing_is_printed(bench: Bench) -> None:
    host, target = bench.kdnet(FakeKernel(map(printed, lines(5))), key=Key.parse("1.2.3.4"))
    host.wait(lambda: target.target._poke_sequence > 12)
    assert [event.kind for event in host.events] == ["wrong-key"]
    assert not target.target.connected


def test_break_in_halts_every_processor_and_goes_on(bench: Bench) -> None:
    kernel = FakeKernel([printed("up\n")])
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text == "up\n")
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    kernel.script.append(printed("on\n"))
    host.wait(lambda: host.text == "up\non\n")
    registers = host.of("break-in")[0].fields["registers"]
    assert isinstance(registers, dict)
    assert [registers[number]["rbx"] for number in ("0", "1")] == [0, 1]
    assert host.of("exception")[0].fields["break_in"] is True


def test_a_break_in_that_was_asked_for_twice_halts_once(bench: Bench) -> None:
    kernel = FakeKernel([printed("up\n")])
    host, _ = bench.kdnet(kernel)
    host.wait(lambda: host.text == "up\n")
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    kernel.script.extend([exception(0x80000003), printed("on\n")])
    host.wait(lambda: host.text == "up\non\n")
    assert len(host.of("exception")) == 1


def test_hold_keeps_the_target_halted_until_it_is_resumed(bench: Bench) -> None:
    host, _ = bench.kdnet(FakeKernel([exception(0x80000003), printed("on\n")]), hold=True)
    host.wait(lambda: host.host.held)
    time.sleep(0.1)
    assert host.text == ""
    host.host.resume()
    host.wait(lambda: host.text == "on\n")


@pytest.mark.parametrize(
    ("garbage", "damage"),
    [(b"", 0.0), (b"boot text 000 ii b\r\n", 0.0), (b"0000i", 0.0), (b"", 0.1)],
    ids=str,
)
def test_serial_line(bench: Bench, garbage: bytes, damage: float) -> None:
    expected = lines(100)
    script = [load_symbols(r"\WINDOWS\system32\ntoskrnl.exe", KERNEL_BASE, 0x1000), *map(printed, expected)]
    kernel = FakeKernel([*script, file_request("a"), exception(0x80000003), printed("end\n")])
    host, _ = bench.serial(kernel, garbage, damage)
    host.wait(lambda: host.text.endswith("end\n"))
    assert host.text == "".join(expected) + "end\n"
    assert [event.kind for event in host.events if event.kind != "dbgprint"] == [
        "attached", "load-symbols", "file-io", "exception"
    ]  # fmt: skip


def test_serial_socket_is_opened_by_its_path_and_its_end_is_told(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "kd"))
        listener.listen()
        wire = KdcomWire.open(tmp_path / "kd")
        machine, _ = listener.accept()
        with machine:
            machine.sendall(serial_bytes(printed("hello")))
            assert wire.receive(5.0)[-1] == printed("hello")
        with pytest.raises(KdError, match="was closed"):
            wire.receive(5.0)
        wire.close()
    with pytest.raises(KdError, match="cannot be opened"):
        KdcomWire.open(tmp_path / "nothing")


def test_a_serial_target_that_restarts_is_heard_again(bench: Bench) -> None:
    host, target = bench.serial(FakeKernel(map(printed, lines(100_000, "first"))))
    host.wait(lambda: "first 30\n" in host.text)
    expected = lines(50, "second")
    target.restart(FakeKernel(map(printed, expected)))
    host.wait(lambda: host.text.endswith(expected[-1]))
    first, _, second = host.text.partition("second 0\n")
    assert "second 0\n" + second == "".join(expected)
    assert first == "".join(lines(first.count("\n"), "first"))
    assert [event.fields["restarted"] for event in host.of("attached")] == [False, True]


def test_serial_break_in(bench: Bench) -> None:
    kernel = FakeKernel([printed("up\n")])
    host, _ = bench.serial(kernel)
    host.wait(lambda: host.text == "up\n")
    host.host.break_in()
    host.wait(lambda: bool(host.of("break-in")))
    kernel.script.append(printed("on\n"))
    host.wait(lambda: host.text == "up\non\n")


def test_a_key_file_is_private_and_read_back(tmp_path: Path) -> None:
    made = Key.generate()
    made.write(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert Key.read(tmp_path / "key") == made
    assert made.text.encode() not in repr(made).encode()

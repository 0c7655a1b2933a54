"""The live host against a fake target on real lines: loss, restarts, breaks, halts, wrong keys."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.debuggers.kd.com.framing import serial_bytes
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.io import STATUS_NO_SUCH_FILE
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.manipulate import HANDLED, NOT_HANDLED, Api
from harness.debuggers.kd.net.wire import KdnetWire
from harness.errors import KdError
from tests.fakes.kd_lines import Noise, UdpTarget, Weather
from tests.fakes.kd_listening import KEY, STORM, Bench, Listening, lines
from tests.fakes.kd_machine import (
    BREAK_PC,
    KERNEL_BASE,
    FakeKernel,
    exception,
    file_request,
    load_symbols,
    printed,
    prompt,
)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()


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


def test_a_target_that_stood_still_for_long_is_let_go_on_afterwards(bench: Bench) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.005)
    host = Listening(wire, patience_s=0.2)
    weather = Weather()
    target = UdpTarget(wire.port, KEY, FakeKernel([printed("up\n")]), weather)
    bench._open += [target, host]
    host.wait(lambda: host.text == "up\n" and target.target.idle)  # else it waits for an acknowledgement
    weather.deaf = True
    target.kernel.script.extend([load_symbols("a.sys", 1, 1), printed("on\n")])
    host.wait(lambda: bool(host.of("warning")))
    weather.deaf = False
    host.wait(lambda: host.text == "up\non\n")
    assert len(host.of("load-symbols")) == 1


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
    host, _ = bench.serial(kernel, garbage, Noise(wrong=damage))
    host.wait(lambda: host.text.endswith("end\n"))
    assert host.text == "".join(expected) + "end\n"
    assert [event.kind for event in host.events if event.kind != "dbgprint"] == [
        "attached", "load-symbols", "file-io", "exception"
    ]  # fmt: skip


def test_serial_socket_is_opened_by_its_path_and_its_end_is_reported(tmp_path: Path) -> None:
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

"""The debug stream over KDNET: records, slices and crashes; and the command that listens."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.crash.expectation import mismatch
from harness.crash.hang import probe_hang
from harness.deadline import Deadline
from harness.debuggers.kd.com.wire import KdcomWire
from harness.debuggers.kd.key import Key
from harness.debuggers.kd.net.wire import KdnetWire
from harness.debuggers.kd.packets import Packet
from harness.debuggers.kd.stream import KdDebugStream
from harness.errors import DeadlineError, KdError
from harness.interfaces import DebugStream, KernelDebugger, WatchesDriver
from harness.outcome import CrashExpectation, KernelCrash
from harness.project.profile import Hang
from tests.fakes.kd_lines import SerialTarget, UdpTarget
from tests.fakes.kd_machine import KERNEL_BASE, STACK, FakeKernel, exception, load_symbols, printed
from tests.fakes.machine import FakeMachine

KEY = Key.parse("1.2.3.4")
NONCE = "n0nce"
FATAL = (
    "\n*** Fatal System Error: 0x000000e2\n"
    "                       (0x0000000000000001,0x0000000000000002,0x0000000000000003,0x0000000000000004)\n\n"
)


def mark(edge: str, number: int) -> str:
    return f"WINVM-MARK {NONCE} {edge} {number} a.scenario\n"


@pytest.fixture
def stream(tmp_path: Path) -> Iterator[tuple[KdDebugStream, UdpTarget]]:
    wire = KdnetWire(KEY, 0, retry_s=0.01)
    target = UdpTarget(wire.port, KEY, FakeKernel())
    stream = KdDebugStream(wire, tmp_path / "dbgprint.log", NONCE)
    yield stream, target
    stream.close()
    target.close()


def texts(stream: DebugStream, scenario_id: int) -> list[str]:
    return [record.text for record in stream.slice(scenario_id)]


def test_slices_crash_and_rearm(stream: tuple[KdDebugStream, UdpTarget]) -> None:
    listening, target = stream
    pieces = [
        mark("begin", 1),
        "on",
        "e\ntw",
        "o\n",
        mark("end", 1),
        "between\n",
        mark("begin", 2),
        "three\n",
    ]
    target.kernel.rcx.append(3)
    target.kernel.bugchecked(0xE2, 1, 2, 3, 4)
    target.kernel.script.extend([*map(printed, pieces), printed(FATAL), exception(0x80000003)])
    assert listening.wait_for_end_marker(1, Deadline.after(10.0))
    assert texts(listening, 1) == ["one", "two"]
    deadline = Deadline.after(10.0)
    while listening.crash() is None:
        assert not deadline.expired
        time.sleep(0.005)
    crash = listening.crash()
    assert crash is not None
    assert (crash.kind, crash.code, crash.parameters) == ("bugcheck", 0xE2, (1, 2, 3, 4))
    assert crash.notes[-1] == r"\??\C:\winvm\winvm.sys at 0xfffff80200000000"
    assert texts(listening, 2)[0] == "three"
    assert not listening.wait_for_end_marker(2, Deadline.after(0.0))
    listening.rearm()
    assert listening.crash() is None
    assert [record.text for record in listening.records() if record.text == "between"] == ["between"]
    assert any("bugcheck 0xe2 (0x1, 0x2, 0x3, 0x4)" in record.text for record in listening.tail())


def test_a_path_from_the_kernel_cannot_forge_records(stream: tuple[KdDebugStream, UdpTarget]) -> None:
    listening, target = stream
    target.kernel.script.extend([load_symbols("a.sys\nforged line of text", 0x1000, 0x1000), printed("on\n")])
    deadline = Deadline.after(10.0)
    while not any(record.text == "on" for record in listening.tail()):
        assert not deadline.expired
        time.sleep(0.005)
    said = [record.text for record in listening.tail() if record.source == "kd"]
    assert said[-1].startswith(r"load-symbols path a.sys\nforged line of text")


def test_a_kernel_is_halted_and_every_processor_read(stream: tuple[KdDebugStream, UdpTarget]) -> None:
    listening, target = stream
    assert isinstance(listening, KernelDebugger)
    halt = listening.break_in(Deadline.after(20.0))
    assert halt.processors == 2
    assert {number: values["rbx"] for number, values in halt.registers.items()} == {0: 0, 1: 1}
    assert halt.places == {0: "ntoskrnl.exe+0x100", 1: "0x0"}
    target.kernel.script.append(printed("on\n"))
    deadline = Deadline.after(10.0)
    while not any(record.text == "on" for record in listening.tail()):
        assert not deadline.expired
        time.sleep(0.005)


def test_a_kernel_that_does_not_halt_is_not_asked_for_ever(tmp_path: Path) -> None:
    wire = KdnetWire(KEY, 0, retry_s=0.01)
    listening = KdDebugStream(wire, tmp_path / "dbgprint.log", NONCE)
    with pytest.raises(DeadlineError, match="did not halt within"):
        listening.break_in(Deadline.after(0.2))
    target = UdpTarget(wire.port, KEY, FakeKernel([printed("up\n")]))
    deadline = Deadline.after(10.0)
    while not any(record.text == "up" for record in listening.tail()):
        assert not deadline.expired
        time.sleep(0.005)
    time.sleep(0.6)  # longer than between two break-ins
    listening.close()
    target.close()
    assert target.kernel.breaks == 0


def test_a_line_that_is_gone_halts_nothing(tmp_path: Path) -> None:
    target = SerialTarget(FakeKernel([printed("up\n")]))
    listening = KdDebugStream(KdcomWire(target.line, "line"), tmp_path / "dbgprint.log", NONCE)
    target.close()
    with pytest.raises(KdError, match="cannot be halted: The serial line line"):
        listening.break_in(Deadline.after(20.0))
    listening.close()


def test_a_hung_kernel_is_looked_into_and_the_nmi_answered(
    stream: tuple[KdDebugStream, UdpTarget], tmp_path: Path
) -> None:
    listening, target = stream
    machine = FakeMachine(tmp_path / "guest")
    machine.start(Deadline.after(5.0))
    machine.on_nmi = lambda: bugcheck(target.kernel, 0x80)
    stall = KernelCrash("hang", 0, (), time.time(), "no progress")
    report = probe_hang(stall, "s.stuck", tmp_path, machine=machine, debug=listening, limits=Hang())
    assert [probe.gave for probe in report.probes] == ["answer", "answer", "answer", "skipped"]
    assert report.bugcheck
    assert report.bugcheck.code == 0x80
    document = json.loads((tmp_path / "hang.json").read_text())
    assert document["processors"]["0"]["at"] == "ntoskrnl.exe+0x100"
    assert set(document["processors"]["1"]["registers"]) >= {"rip", "rsp", "rax", "r15", "eflags"}


def bugcheck(kernel: FakeKernel, code: int) -> None:
    kernel.rcx.append(3)
    kernel.bugchecked(code, 1, 2, 3, 4)
    kernel.script.extend([printed(FATAL.replace("000000e2", f"{code:08x}")), exception(0x80000003)])


def test_listening_costs_little_of_a_processor(tmp_path: Path) -> None:
    """Idle, with the target's pokes coming as often as real ones; 2% of a core would be 60 ms."""
    code = (
        "import sys, time; from pathlib import Path; from harness.debuggers.kd.key import Key;"
        "from harness.debuggers.kd.stream import KdDebugStream; from harness.debuggers.kd.net.wire import *;"
        "wire = KdnetWire(Key.parse('1.2.3.4'), 0); stream = KdDebugStream(wire, Path(sys.argv[1]), 'n');"
        "print(wire.port, flush=True); sys.stdin.readline();"
        "begun = time.process_time(); sys.stdin.readline(); print(time.process_time() - begun)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    target = UdpTarget(int(process.stdout.readline()), KEY, FakeKernel([printed("up\n")]), poke_s=0.5)
    try:
        deadline = Deadline.after(20.0)
        while "up" not in (tmp_path / "log").read_text():
            assert not deadline.expired
            time.sleep(0.01)
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
        time.sleep(3.0)
        used, _ = process.communicate("\n", timeout=20)
    finally:
        process.kill()
        target.close()
    assert float(used) < 0.06


def listen(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "kd", "listen", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_listen_prints_live_and_breaks_in_on_a_signal(tmp_path: Path) -> None:
    KEY.write(tmp_path / "key")
    process = listen("--port", "0", "--key-file", str(tmp_path / "key"))
    assert process.stdout is not None
    assert process.stderr is not None
    port = int(process.stderr.readline().split()[-1].rstrip("."))
    target = UdpTarget(port, KEY, FakeKernel([printed("hello \x1b[31mred\n")]))
    try:
        assert process.stdout.readline().startswith("[attached to 127.0.0.1:")
        assert process.stdout.readline() == "hello \\x1b[31mred\n"
        process.send_signal(signal.SIGQUIT)
        assert process.stdout.readline().startswith("[exception code 0x80000003")
        assert process.stdout.readline().startswith("[break-in processors 0x2")
        report = [process.stdout.readline().strip() for _ in range(6)]
        assert report[0] == "live kernel, x64: build 19045"
        assert report[1::2][:2] == ["processor 0", "processor 1"]
        assert report[2].endswith("ntoskrnl.exe+0x100  (registers)")
        assert report[5] == "modules     2 loaded, 0 unloaded"
        target.kernel.script.append(printed("on\n"))
        assert process.stdout.readline() == "on\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10.0) == 130
    finally:
        process.kill()
        process.communicate()
        target.close()


def test_listen_on_a_pty_as_json() -> None:
    target = SerialTarget(FakeKernel([printed("hello\n")]))
    master, slave = os.openpty()
    process = listen("--serial", os.ttyname(slave), "--json")
    try:
        assert process.stderr is not None
        assert process.stdout is not None
        process.stderr.readline()
        for _ in range(4):  # one way is enough: the target repeats the packet until it is acknowledged
            os.write(master, os.read(target.line, 4096))
        assert json.loads(process.stdout.readline())["kind"] == "attached"
        said = json.loads(process.stdout.readline())
        assert (said["kind"], said["text"]) == ("dbgprint", "hello\n")
    finally:
        process.kill()
        process.communicate()
        for descriptor in (master, slave, target.line):
            os.close(descriptor)
        target.close()


DRIVER = 0xFFFFF80200000000


def driver_loaded() -> Packet:
    return load_symbols(r"\??\C:\winvm\winvm.sys", DRIVER, 0x9000)


def crash_of(stream: KdDebugStream, target: UdpTarget, *script: Packet) -> KernelCrash | None:
    """The crash reported after the kernel has run a script and printed once more."""
    target.kernel.script.extend([driver_loaded(), *script, printed("went on\n")])
    deadline = Deadline.after(10.0)
    while not any(record.text == "went on" for record in stream.tail()):
        assert not deadline.expired
        time.sleep(0.005)
    return stream.crash()


@pytest.mark.parametrize("code", [0x80000003, 0xC0000420])
def test_a_breakpoint_or_assertion_in_the_driver_is_a_crash(
    stream: tuple[KdDebugStream, UdpTarget], code: int
) -> None:
    listening, target = stream
    assert isinstance(listening, WatchesDriver)
    listening.watch(["WinVM.sys"])
    target.kernel.rcx.extend([1, 0])
    crash = crash_of(listening, target, exception(code, DRIVER + 0x1234))
    assert crash is not None
    assert (crash.kind, crash.code, crash.parameters) == ("exception", code, (code, DRIVER + 0x1234))
    assert crash.notes[0].startswith("At winvm.sys+0x1234. ")
    assert not mismatch(CrashExpectation(exception=code), crash)
    assert mismatch(CrashExpectation(bugcheck=0xD1), crash)


def test_a_breakpoint_that_the_driver_has_the_kernel_execute_is_a_crash(
    stream: tuple[KdDebugStream, UdpTarget],
) -> None:
    listening, target = stream
    listening.watch(["winvm.sys"])
    target.kernel.write(STACK, struct.pack("<Q", DRIVER + 0x88))
    target.kernel.rcx.extend([1, 0])
    crash = crash_of(listening, target, exception(0x80000003))
    assert crash is not None
    assert (crash.code, crash.notes[0].partition(". ")[0]) == (0x80000003, "At winvm.sys+0x88")


@pytest.mark.parametrize(
    "halt",
    [
        exception(0x80000003, DRIVER + 0x9000),
        exception(0x80000003),
        exception(0x80000004, DRIVER + 0x10),
        exception(0xC0000005, DRIVER + 0x10),
    ],
    ids=["another image", "the kernel's own", "a single step", "a handler may follow"],
)
def test_what_is_no_breakpoint_of_the_driver_is_no_crash(
    stream: tuple[KdDebugStream, UdpTarget], halt: Packet
) -> None:
    listening, target = stream
    listening.watch(["winvm.sys"])
    assert crash_of(listening, target, halt) is None


def test_a_break_in_that_lands_in_the_driver_is_no_crash(stream: tuple[KdDebugStream, UdpTarget]) -> None:
    listening, target = stream
    listening.watch(["ntoskrnl.exe", "winvm.sys"])
    target.kernel.script.append(load_symbols("ntoskrnl.exe", KERNEL_BASE, 0x1000))
    listening.break_in(Deadline.after(20.0))
    assert crash_of(listening, target) is None

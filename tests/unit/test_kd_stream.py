"""The debug stream over KDNET: records, slices and crashes; and the command that listens."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.debuggers.kd_key import Key
from harness.debuggers.kd_stream import KdDebugStream
from harness.debuggers.kdnet_wire import KdnetWire
from harness.interfaces import DebugStream
from tests.fakes.kd_lines import SerialTarget, UdpTarget
from tests.fakes.kd_machine import FakeKernel, exception, printed

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


def listen(*arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "harness", "kd", "listen", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_listen_prints_live_and_breaks_in_on_a_signal(tmp_path: Path) -> None:
    KEY.write(tmp_path / "key")
    process = listen("--port", "0", "--key-file", str(tmp_path / "key"))
    assert process.stdout is not None
    assert process.stderr is not None
    port = int(process.stderr.readline().split()[-1].rstrip("."))
    target = UdpTarget(port, KEY, FakeKernel([printed("hel"), printed("lo \x1b[31mred\n")]))
    try:
        assert process.stdout.readline().startswith("[attached to 127.0.0.1:")
        assert process.stdout.readline() == "hello \\x1b[31mred\n"
        process.send_signal(signal.SIGQUIT)
        assert process.stdout.readline().startswith("[exception code 0x80000003")
        assert process.stdout.readline().startswith("[break-in processors 0x2")
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
        for _ in range(4):  # one way is enough: the target says it again until it is acknowledged
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

"""A debugger of another project attaches, to the fake target directly and through the relay of `winvm debug`.

The debugger is ntoseye (PyPI). It reads modules by the PDB of the kernel that the toolchain builds here, sets
and clears a breakpoint, and lets the target go on, which prints before and after.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.debuggers.kd.com.relay import KdcomRelayWire, listen_unix
from harness.debuggers.kd.net.relay import KdnetRelayWire
from harness.debuggers.kd.net.wire import KdnetWire
from harness.debuggers.kd.show import summary_line
from tests.fakes.kd_debuggee import Built, DebuggedKernel, build
from tests.fakes.kd_lines import SerialTarget, UdpTarget
from tests.fakes.kd_listening import KEY, Listening, lines
from tests.fakes.kd_machine import printed

NTOSEYE = Path(sys.executable).with_name("ntoseye")
COMMANDS = ("lm", "bp nt!IofCallDriver", "bl", "bc *", "bl")

pytestmark = pytest.mark.skipif(
    not NTOSEYE.exists(), reason="ntoseye is not installed: no wheel for this host"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return build(tmp_path_factory.mktemp("nt"))


@pytest.fixture
def kernel(built: Built) -> DebuggedKernel:
    return DebuggedKernel(built, map(printed, lines(10, "before")))


def free_port() -> int:
    wire = KdnetWire(KEY, 0)
    wire.close()
    return wire.port


def attach(folder: Path, pdbs: Path, *connection: str) -> str:
    """Output of ntoseye for `COMMANDS`; it leaves the target running."""
    commands = [argument for command in COMMANDS for argument in ("-c", command)]
    where = ["--memory-source", "kd", "--sympath-append", str(pdbs), "--kd-handshake-timeout", "30"]
    done = subprocess.run(
        [NTOSEYE, *connection, *where, "--batch", *commands],
        env=os.environ | {"HOME": str(folder), "NO_COLOR": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def check(told: str, built: Built, kernel: DebuggedKernel) -> None:
    """The debugger saw this kernel, and left it running without a breakpoint."""
    target = built.exports["IofCallDriver"]
    assert f"{built.base:016x}  fffff80100040000  nt      -        loaded" in told
    assert "winvm.sys" in told
    assert f"breakpoint #0 set at {target:x} (nt!IofCallDriver)" in told
    assert "breakpoint #0 cleared" in told
    assert told.rstrip().endswith("no breakpoints set")
    assert kernel.set_breakpoints == [target]
    assert not kernel.breakpoints
    assert not kernel.unknown
    assert kernel.continued


def test_over_serial(built: Built, kernel: DebuggedKernel, tmp_path: Path) -> None:
    with contextlib.closing(listen_unix(tmp_path / "kd")) as listener, served(listener, kernel):
        check(attach(tmp_path, built.folder, "-b", "kd", "--connect", str(tmp_path / "kd")), built, kernel)
    assert not kernel.script, "it went on printing"


@contextlib.contextmanager
def served(listener: socket.socket, kernel: DebuggedKernel) -> Iterator[None]:
    """Connects the target to the first connection."""
    targets: list[SerialTarget] = []

    def serve() -> None:
        targets.append(SerialTarget(kernel, connection=listener.accept()[0]))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield
    thread.join(10)
    for target in targets:
        target.close()


def test_over_kdnet(built: Built, kernel: DebuggedKernel, tmp_path: Path) -> None:
    port = free_port()
    target = UdpTarget(port, KEY, kernel, poke_s=0.2, retry_s=0.1)
    try:
        where = ["-b", "kdnet", "--connect", f"127.0.0.1:{port}", "--kdnet-key", KEY.text]
        check(attach(tmp_path, built.folder, *where), built, kernel)
    finally:
        target.close()
    assert not kernel.script


def through(winvm: Listening, built: Built, kernel: DebuggedKernel, folder: Path, *where: str) -> None:
    """The target prints to winvm before the debugger comes, and again when it is gone."""
    winvm.wait(lambda: winvm.text.endswith("before 9\n"))
    check(attach(folder, built.folder, *where), built, kernel)
    winvm.wait(lambda: bool(winvm.of("taken-back")))
    kernel.script.extend(map(printed, lines(10, "after")))
    winvm.wait(lambda: winvm.text.endswith("after 9\n"))
    assert winvm.text == "".join(lines(10, "before") + lines(10, "after"))
    assert len(winvm.of("handed-over")) == 1


@pytest.mark.parametrize("count", [10, 11], ids=["the first number is next", "the second number is next"])
def test_over_serial_through_the_relay(
    built: Built, kernel: DebuggedKernel, tmp_path: Path, count: int
) -> None:
    """Whatever number the target's next packet has, the debugger does not wait for it to be sent again."""
    kernel.script[:0] = [printed("")] * (count - 10)
    target = SerialTarget(kernel)
    winvm = Listening(KdcomRelayWire(target.line, "line", [listen_unix(tmp_path / "kd")], retry_s=0.05))
    try:
        through(winvm, built, kernel, tmp_path, "-b", "kd", "--connect", str(tmp_path / "kd"))
    finally:
        winvm.close()
        target.close()
    handed, taken = winvm.of("handed-over")[0], winvm.of("taken-back")[0]
    assert summary_line(taken.kind, taken.fields) == f"taken-back from {tmp_path / 'kd'}"
    halted = next(event for event in winvm.of("exception") if event.time > handed.time)
    assert halted.time - handed.time < 1.5


def test_over_kdnet_through_the_relay(built: Built, kernel: DebuggedKernel, tmp_path: Path) -> None:
    port = free_port()
    wire = KdnetRelayWire(KEY, 0, ("127.0.0.1", port), retry_s=0.05, gone_s=1.0)
    winvm = Listening(wire)
    target = UdpTarget(wire.port, KEY, kernel, poke_s=0.2, retry_s=0.1)
    try:
        where = ["-b", "kdnet", "--connect", f"127.0.0.1:{port}", "--kdnet-key", KEY.text]
        through(winvm, built, kernel, tmp_path, *where)
    finally:
        winvm.close()
        target.close()

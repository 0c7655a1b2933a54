"""KDNET through a real QEMU's adapter: a kernel's network stack on one side, the debugger on the other."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.debuggers.kd.net.adapter import AdapterSocket
from harness.debuggers.kd.net.neighbour import Neighbour
from harness.debuggers.kd.net.wire import KdnetWire
from harness.guests.windows.spec.profile import KDNET_HOST, KDNET_LEASE, KDNET_PORT
from tests.fakes.kd_lines import UdpTarget
from tests.fakes.kd_listening import KEY, Listening, lines
from tests.fakes.kd_machine import FakeKernel, printed

_CLONE_NEWNET = 0x40000000
needs_tap = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/net/tun").exists(), reason="makes a tap device, which needs root"
)


def qemu(*arguments: str, stream: Path) -> list[str]:
    adapter = f"stream,id=kd,server=on,addr.type=unix,addr.path={stream}"
    return ["qemu-system-x86_64", "-nodefaults", "-accel", "tcg", "-netdev", adapter, *arguments]


@contextlib.contextmanager
def running(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = Deadline.after(60.0)
    while not condition():
        deadline.check(what)
        time.sleep(0.05)


def in_network_of(pid: int, make: Callable[[], UdpTarget]) -> UdpTarget:
    """What `make` returns, made by a thread in that process's network: its sockets are there."""
    made: list[UdpTarget] = []

    def enter() -> None:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), _CLONE_NEWNET) == 0
        made.append(make())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    return made[0]


@pytest.fixture
def network(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """The guest is Linux' own IP stack: QEMU joins a tap device, in a network of its own, to the adapter."""
    path = tmp_path / "kdnet.sock"
    hub = [
        "-M", "none", "-display", "none",
        "-netdev", "tap,id=tap,ifname=guest0,script=no,downscript=no",
        "-netdev", "hubport,id=one,hubid=1,netdev=tap",
        "-netdev", "hubport,id=two,hubid=1,netdev=kd",
    ]  # fmt: skip
    up = (
        "ip tuntap add dev guest0 mode tap && ip link set lo up && ip link set guest0 up"
        f' && ip address add {KDNET_LEASE}/24 dev guest0 && exec "$@"'
    )
    with running(["unshare", "--net", "sh", "-c", up, "sh", *qemu(*hub, stream=path)]) as process:
        until(path.exists, "QEMU's socket")
        yield process.pid, path


def wire(path: Path) -> KdnetWire:
    adapter = AdapterSocket(path, Neighbour(KDNET_HOST, KDNET_LEASE, KDNET_PORT))
    return KdnetWire(KEY, KDNET_PORT, retry_s=0.02, adapter=adapter)


@needs_tap
def test_a_kernel_is_debugged_through_the_adapter(network: tuple[int, Path]) -> None:
    pid, path = network
    expected = lines(200)
    kernel = FakeKernel(map(printed, expected))
    target = in_network_of(pid, lambda: UdpTarget(KDNET_PORT, KEY, kernel, own=KDNET_LEASE, host=KDNET_HOST))
    host = Listening(wire(path))
    try:
        host.wait(lambda: host.text.endswith(expected[-1]))
        assert host.text == "".join(expected)
        # A debugger that comes later connects to the adapter anew, and finds the kernel.
        host.close()
        host = Listening(wire(path))
        kernel.script.append(printed("more\n"))
        host.wait(lambda: host.text.endswith("more\n"))
    finally:
        target.close()
        host.close()


@needs_tap
def test_the_guest_reaches_nothing_else(network: tuple[int, Path]) -> None:
    pid, path = network
    host = Listening(wire(path))
    try:
        for command in (
            # A busy host answers late: asked until it does.
            f"until echo x > /dev/udp/{KDNET_HOST}/53; ip neigh show {KDNET_HOST} | grep -q REACHABLE;"
            " do sleep 0.1; done",
            f"! timeout 2 bash -c 'exec 3<>/dev/tcp/{KDNET_HOST}/22'",
            "echo x > /dev/udp/10.0.3.1/50000; sleep 1; ! ip neigh show 10.0.3.1 | grep -q REACHABLE",
        ):
            done = subprocess.run(
                ["nsenter", "-t", str(pid), "-n", "bash", "-c", command], timeout=60, capture_output=True
            )
            assert done.returncode == 0, (command, done.stderr)
    finally:
        host.close()


def test_a_guests_firmware_gets_its_address(tmp_path: Path) -> None:
    """iPXE in the adapter's ROM asks for an address; it has another DHCP client than Windows."""
    path = tmp_path / "kdnet.sock"
    card = ["-device", "e1000e,netdev=kd", "-boot", "n", "-nographic", "-serial", "mon:stdio", "-m", "64"]
    with running(qemu(*card, stream=path)) as process:
        until(path.exists, "QEMU's socket")
        host = Listening(wire(path))
        said = bytearray()
        reader = threading.Thread(target=lambda: said.extend(read(process, b"No more network devices")))
        reader.start()
        reader.join(90.0)
        process.kill()
        host.close()
    text = said.decode(errors="replace")
    assert f"{KDNET_LEASE}/255.255.255.0" in text, text


def read(process: subprocess.Popen[bytes], end: bytes) -> bytes:
    assert process.stdout
    said = b""
    while end not in said and (chunk := os.read(process.stdout.fileno(), 4096)):
        said += chunk
    return said

"""The process beside a guest that no run uses: it bounds every channel file, and ends with the guest."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.machine import unattended
from harness.machine.channels import KEPT, LIMIT
from harness.machine.protocol import Channels


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    folder = tmp_path / "run" / "guest"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def qemu(machine: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that looks like the run's QEMU."""
    sleeping = ["qemu-test", "-c", "import time; time.sleep(60)", str(machine / "disk.qcow2")]
    with subprocess.Popen(sleeping, executable=sys.executable) as process:
        (machine / "guest.pid").write_text(str(process.pid))
        yield process
        process.kill()


def watchers(machine: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"harness.machine.unattended" in words and str(machine).encode() in words:
            found.append(process.name)
    return found


def until(condition: Callable[[], bool]) -> None:
    deadline = Deadline.after(30.0)
    while not condition():
        deadline.check("The test")
        time.sleep(0.05)


def fill(file: Path) -> None:
    with file.open("wb") as sink:
        while sink.tell() <= LIMIT:
            sink.write(b"0123456789abcdef" * 65536)
        sink.write(b"the end")


def test_old_output_goes_the_debug_channels_too(machine: Path, qemu: subprocess.Popen[bytes]) -> None:
    channels = Channels.inside(machine)
    unattended.leave(machine)
    for file in (channels.console, channels.dbgprint):
        fill(file)
        until(lambda file=file: file.stat().st_blocks * 512 <= KEPT + 8192)  # type: ignore[misc]
        assert file.stat().st_size > LIMIT
        assert file.read_bytes().endswith(b"the end")


def test_it_ends_with_the_guest(machine: Path, qemu: subprocess.Popen[bytes]) -> None:
    unattended.leave(machine)
    assert len(watchers(machine)) == 1
    unattended.wait_for_end(machine, Deadline.after(0.1))
    assert len(watchers(machine)) == 1
    qemu.kill()
    unattended.wait_for_end(machine, Deadline.after(30))
    assert watchers(machine) == []


def test_nobody_waits_where_there_is_none(machine: Path) -> None:
    deadline = Deadline.after(30)
    unattended.wait_for_end(machine, deadline)
    assert deadline.remaining() > 25


def test_it_does_not_stay_without_a_guest(machine: Path) -> None:
    unattended.leave(machine)
    unattended.wait_for_end(machine, Deadline.after(30))
    assert watchers(machine) == []

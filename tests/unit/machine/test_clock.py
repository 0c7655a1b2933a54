"""The clock port, with this test at QEMU's end of its FIFOs."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineError, MachineError
from harness.machine.clock import make_clock_port, set_clock


@pytest.fixture
def port(tmp_path: Path) -> Path:
    made = tmp_path / "clock"
    make_clock_port(made)
    return made


@contextlib.contextmanager
def qemu(port: Path) -> Iterator[tuple[int, int]]:
    """Both FIFOs held open for reading and writing, as QEMU's pipe device does it."""
    inward, outward = (os.open(f"{port}{end}", os.O_RDWR) for end in (".in", ".out"))
    try:
        yield inward, outward
    finally:
        os.close(inward)
        os.close(outward)


@pytest.mark.parametrize("noise", [b"", b"left over\n", b"x" * 65536, b"\xff\0\n" * 2000])
def test_the_guest_gets_the_time_and_its_answer_is_found_in_whatever_it_wrote(
    port: Path, noise: bytes
) -> None:
    with qemu(port) as (inward, outward), ThreadPoolExecutor(1) as beside:
        os.write(outward, noise)
        done = beside.submit(set_clock, port, Deadline.after(20))
        line = os.read(inward, 100)
        assert abs(float(line) - time.time()) < 20
        os.write(outward, line)
        done.result()


def test_an_error_shows_the_console_which_is_removed_with_the_machine(port: Path) -> None:
    (port.parent / "console.log").write_text("kernel panic\n")
    with qemu(port), pytest.raises(DeadlineError, match="clock") as raised:
        set_clock(port, Deadline.after(0.1))
    assert raised.value.detail == "kernel panic"


def test_a_guest_that_ends_is_not_waited_for(port: Path) -> None:
    with ThreadPoolExecutor(1) as beside:
        with qemu(port) as (inward, _):
            done = beside.submit(set_clock, port, Deadline.after(60))
            os.read(inward, 100)
        with pytest.raises(MachineError, match="ended before it set its clock"):
            done.result(10)


def test_a_guest_that_floods_the_port_is_given_up_at_the_deadline(port: Path) -> None:
    with qemu(port) as (_, outward), ThreadPoolExecutor(1) as beside:
        done = beside.submit(set_clock, port, Deadline.after(0.3))
        os.set_blocking(outward, False)
        while not done.done():
            with contextlib.suppress(BlockingIOError):
                os.write(outward, b"1.000\n" * 100)
        with pytest.raises(DeadlineError, match="clock"):
            done.result()


def test_a_guest_that_is_silent_is_given_up_at_the_deadline(port: Path) -> None:
    with qemu(port), pytest.raises(DeadlineError, match=r"did not set its clock within 0\.1 s"):
        set_clock(port, Deadline.after(0.1))


@pytest.mark.parametrize("made", [True, False])
def test_a_machine_without_qemu_is_refused_at_once(port: Path, made: bool) -> None:
    where = port if made else port.with_name("nowhere")
    with pytest.raises(MachineError, match="cannot be set"):
        set_clock(where, Deadline.after(60))


def test_a_port_is_made_anew_for_each_qemu(port: Path) -> None:
    with qemu(port) as (_, outward):
        os.write(outward, b"of the one before\n")
        make_clock_port(port)
        with qemu(port), pytest.raises(DeadlineError):
            set_clock(port, Deadline.after(0.1))

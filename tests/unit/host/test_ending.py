"""Any signal ends a process that holds a guest: its own, make's, or that of a closed terminal."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host import interrupts

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """\
import sys, time
from pathlib import Path
from harness.host import interrupts

folder, cleaning = Path(sys.argv[1]), float(sys.argv[2])
interrupts.install()
interrupts.at_last((folder / "guest").unlink)
try:
    (folder / "guest").touch()
    print("up", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    with interrupts.deferred():
        print("cleaning", flush=True)
        time.sleep(cleaning)
    (folder / "cleaned").touch()
    sys.exit(130)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    file = tmp_path / "program.py"
    file.write_text(PROGRAM)
    return file


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        with process:
            process.kill()


def start(
    program: Path, cleaning: float, started: list[subprocess.Popen[bytes]], *before: str
) -> subprocess.Popen[bytes]:
    argv = [*before, sys.executable, str(program), str(program.parent), str(cleaning)]
    process = subprocess.Popen(
        argv, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    started.append(process)
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    return process


def gone(guest: Path, seconds: float = 10.0) -> float:
    """Seconds until the guest's file is gone."""
    began = time.monotonic()
    while guest.exists():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.mark.parametrize("number", interrupts.SIGNALS, ids=lambda number: number.name)
def test_each_signal_cleans_up(
    program: Path, started: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    process = start(program, 0.1, started)
    process.send_signal(number)
    _, errors = process.communicate(timeout=10)
    assert (process.returncode, errors) == (130, b"")
    assert (program.parent / "cleaned").exists()
    assert not (program.parent / "guest").exists()


@pytest.mark.parametrize("number", interrupts.SIGNALS, ids=lambda number: number.name)
def test_a_clean_up_that_takes_long_does_not_keep_the_guest(
    program: Path, started: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    process = start(program, 30, started)
    process.send_signal(number)
    assert gone(program.parent / "guest") < 3.0
    assert process.poll() is None, "the clean-up goes on without it"


def test_a_second_ctrl_c_ends_at_once(program: Path, started: list[subprocess.Popen[bytes]]) -> None:
    process = start(program, 30, started)
    process.send_signal(signal.SIGINT)
    time.sleep(interrupts.TOGETHER_S + 0.3)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=1.0)
    assert (process.returncode, errors) == (130, b"\nwinvm: interrupted.\n")
    assert not (program.parent / "guest").exists()


def test_several_at_once_are_one(program: Path, started: list[subprocess.Popen[bytes]]) -> None:
    process = start(program, 1.5, started)
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        process.send_signal(number)
        time.sleep(0.05)
    process.communicate(timeout=10)
    assert (program.parent / "cleaned").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_make_that_is_signalled_ends_what_it_runs(
    program: Path, started: list[subprocess.Popen[bytes]], number: signal.Signals
) -> None:
    makefile = program.with_name("Makefile")
    makefile.write_text(f"all:\n\t@{sys.executable} {program} {program.parent} 0.1\n")
    make = subprocess.Popen(
        ["make", "-s", "-f", str(makefile)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    started.append(make)
    assert make.stdout
    assert make.stdout.readline() == b"up\n"
    make.send_signal(number)
    assert gone(program.parent / "guest") < 3.0
    _, errors = make.communicate(timeout=10)
    assert b"Traceback" not in errors


def test_a_closed_terminal_ends_it(program: Path) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, str(program), str(program.parent), "0.1"])
    said = b""
    while b"up" not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    assert gone(program.parent / "guest") < 3.0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert (program.parent / "cleaned").exists()


def test_under_nohup_a_closed_terminal_changes_nothing(
    program: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    process = start(program, 0.1, started, "sh", "-c", 'trap "" HUP; exec "$@"', "sh")
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 130

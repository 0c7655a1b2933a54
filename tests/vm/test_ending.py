"""A run that is told to end: its guest is gone within seconds, whoever is told and how."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.machine.processes import qemu_processes
from tests.soak.project import ROOT, Project, project

RUN_S = 240.0
GUEST_ENDS_S = 3.0
BUSY = ("-k", "busy")


@pytest.fixture(scope="module")
def owned() -> Iterator[Project]:
    """Its scenario `busy` takes a minute."""
    with project(seconds=60.0) as owned:
        yield owned


def qemus(owned: Project) -> list[int]:
    runs = owned.home / "runs"
    return [pid for run in runs.iterdir() for pid in qemu_processes(run)] if runs.is_dir() else []


def wait(until: Callable[[], bool], seconds: float, what: str) -> float:
    began = time.monotonic()
    while not until():
        assert time.monotonic() - began < seconds, what
        time.sleep(0.02)
    return time.monotonic() - began


def pytest_of(owned: Project) -> list[str]:
    options = ["--winvm-config", str(owned.config_path), "-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "tests/vm/test_scenarios.py", "-k", "busy", *options]


def winvm_of(owned: Project) -> list[str]:
    return [sys.executable, "-m", "harness", "--config", str(owned.config_path), "run", *BUSY]


def make_of(owned: Project) -> list[str]:
    makefile = owned.folder / "Makefile"
    makefile.write_text("vm-test:\n\t@" + " ".join(pytest_of(owned)) + "\n")
    return ["make", "-s", "-f", str(makefile), "vm-test"]


def started(owned: Project, argv: list[str]) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        argv,
        cwd=ROOT,
        env=owned.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    busy(owned)
    return process


def busy(owned: Project) -> None:
    """Waits until the guest is up and its scenario runs."""
    wait(lambda: bool(owned.ports()), RUN_S, "no guest was started")
    time.sleep(3.0)
    assert qemus(owned)


@pytest.mark.parametrize("of", [make_of, pytest_of, winvm_of])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_the_guest(
    owned: Project, of: Callable[[Project], list[str]], number: signal.Signals
) -> None:
    with started(owned, of(owned)) as process:
        process.send_signal(number)
        taken = wait(lambda: not qemus(owned), GUEST_ENDS_S, "the guest lives on")
        said, _ = process.communicate(timeout=30)
    print(f"{of.__name__} {number.name}: {taken:.2f} s")
    assert process.returncode != 0
    assert b"Traceback" not in said, said.decode()
    assert owned.left() == []


def test_a_second_ctrl_c_ends_everything_at_once(owned: Project) -> None:
    with started(owned, winvm_of(owned)) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.7)
        process.send_signal(signal.SIGINT)
        wait(lambda: not qemus(owned), GUEST_ENDS_S, "the guest lives on")
        said, _ = process.communicate(timeout=5)
    assert process.returncode == 130
    assert b"Traceback" not in said, said.decode()


def test_a_closed_terminal_ends_the_guest(owned: Project) -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        argv = winvm_of(owned)
        os.execve(argv[0], argv, owned.environment)
    busy(owned)
    os.close(terminal)
    wait(lambda: not qemus(owned), GUEST_ENDS_S, "the guest lives on")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
    assert owned.left() == []


def test_a_killed_run_leaves_no_guest(owned: Project) -> None:
    with started(owned, winvm_of(owned)) as process:
        process.kill()
        wait(lambda: not qemus(owned), GUEST_ENDS_S, "the guest lives on")


def test_what_a_killed_run_left_is_removed_by_the_next(owned: Project) -> None:
    argv = [*winvm_of(owned)[:-1], "knows_the_time"]
    done = subprocess.run(
        argv, cwd=ROOT, env=owned.environment, capture_output=True, timeout=RUN_S, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    assert owned.left() == []
    assert not list(Path(owned.home, "runs").iterdir())

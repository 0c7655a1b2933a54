"""The soak's own checks detect leftovers on the host, and growth of a process."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.kills import group
from tests.soak.leftovers import left
from tests.soak.project import Project
from tests.soak.samples import growth, watched

SLEEP = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("runs", "images", "up"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_nothing_is_left_of_nothing(home: Path) -> None:
    assert left(home, [1]) == []


def test_folders_and_files_are_seen(home: Path) -> None:
    (home / "runs" / "1121-000000-aaaaaa").mkdir()
    (home / "accelerator.json.tmp").touch()
    assert left(home) == [f"{home}/runs/1121-000000-aaaaaa", f"{home}/accelerator.json.tmp"]


@pytest.mark.parametrize("where", ["command line", "environment"])
def test_a_process_is_seen(home: Path, where: str) -> None:
    words = [*SLEEP, f"{home}/runs/x"] if where == "command line" else SLEEP
    environment = {**os.environ, "WINVM_HOME": str(home)} if where == "environment" else None
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # it is the program, not a copy of this one
        (found,) = left(home)
        process.kill()
    assert found.startswith(f"process {process.pid}: ")
    assert left(home) == []


def test_a_lock_is_seen(home: Path) -> None:
    with (home / "up" / "key.lock").open("w") as lock:
        assert left(home) == []
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert left(home) == [f"lock on {home}/up/key.lock"]
    assert left(home) == []


def test_a_port_is_seen_unless_a_guest_of_another_home_has_it_now(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert left(home, [port]) == [f"port {port}"]
        words = [*SLEEP, "/somewhere/else/runs/1/libvirt"]
        with subprocess.Popen(words, pass_fds=[listening.fileno()], stdout=subprocess.PIPE) as other:
            assert other.stdout
            other.stdout.readline()
            listening.close()
            assert left(home, [port]) == []
            other.kill()
    assert left(home, [port]) == []


def test_what_comes_and_goes_is_no_growth() -> None:
    assert growth([5, 9, 5, 9, 9, 5, 9, 9, 5]) == 0
    assert growth([5, 6, 7, 8, 9, 10]) == 4
    with pytest.raises(ValueError, match="empty"):
        growth([1, 2])


STARTING = """
import sys, time
modules = [open("/dev/null") for _ in range(50)]
time.sleep(1.2)
modules.clear()
with open(sys.argv[1], "wb", 0) as results:
    results.write(b"x" * 99)
    time.sleep(1.2)
"""


def test_what_a_run_holds_before_its_first_results_does_not_count(tmp_path: Path) -> None:
    results = tmp_path / "results"
    with subprocess.Popen([sys.executable, "-c", STARTING, str(results)]) as process:
        samples = watched(process, results)
    assert samples
    assert all(sample.rss > 1000 and 4 <= sample.files < 50 for sample in samples)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_signal_reaches_every_process_of_a_home(home: Path, tmp_path: Path, number: signal.Signals) -> None:
    here = Project(tmp_path, home)
    with group(here) as members, subprocess.Popen(SLEEP, env=here.environment, stdout=subprocess.PIPE) as one:
        members.add(one.pid)
        with subprocess.Popen(SLEEP, env=here.environment, stdout=subprocess.PIPE) as other:
            members.add(other.pid)
            for process in (one, other):
                assert process.stdout
                process.stdout.readline()
            assert members.send(number) == 2
            assert (one.wait(10), other.wait(10)) == (-number, -number)
    assert here.left() == []

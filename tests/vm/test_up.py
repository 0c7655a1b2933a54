"""`winvm up`: one guest of a project, bounded while no run uses it; nothing is left after Ctrl-C."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from harness.machine.channels import KEPT, LIMIT
from harness.run.live import LiveGuest
from tests.soak.project import ROOT, Project, project

UP_S = 180
PYTHON = r"C:\Python\python.exe"
LINES = 80_000  # of a thousand bytes: more than the limit
FLOOD = f"import ctypes; [ctypes.windll.ntdll.DbgPrint(b'%s', b'left alone' * 90) for _ in range({LINES})]"


@pytest.fixture
def fresh() -> Iterator[Project]:
    with project() as found:
        yield found
        said(found, "down")


def said(of: Project, command: str, *arguments: str) -> tuple[int, str, str]:
    """Exit code and output of one command."""
    with of.start(*arguments, command=command) as running:
        output, errors = running.communicate(timeout=UP_S)
    return running.returncode, output.decode(), errors.decode()


def test_a_project_has_one_guest_and_what_it_writes_while_nobody_looks_is_bounded(fresh: Project) -> None:
    with fresh.start("--json", command="up") as one, fresh.start("--json", command="up") as other:
        first, second = [run.communicate(timeout=UP_S)[0] for run in (one, other)]
    assert first == second
    assert len(list((fresh.home / "runs").iterdir())) == 1
    guest = LiveGuest.model_validate_json(first)
    assert guest.build == "release"
    code, _, errors = said(fresh, "up", "--build", "fault")
    assert code == 2
    assert "A guest of this project is up already, with driver build release" in errors
    assert "Run winvm down, then winvm up." in errors

    code, _, errors = said(fresh, "exec", "--", PYTHON, "-c", FLOOD)
    assert code == 0, errors
    written = guest.channels.dbgprint
    assert written.stat().st_size > LIMIT + KEPT
    end = time.monotonic() + 60
    while written.stat().st_blocks * 512 > LIMIT:
        assert time.monotonic() < end, "the file is not cut"
        time.sleep(0.1)
    code, output, _ = said(fresh, "logs")
    assert code == 0
    assert output.endswith("left alone" * 90 + "\n")
    assert len(output) <= LIMIT

    assert json.loads(said(fresh, "down", "--json")[1]) == {"ended": [str(guest.folder)]}
    assert fresh.left() == []


@pytest.mark.parametrize("number", range(2))
def test_ctrl_c_leaves_nothing_of_a_guest_that_comes_up(fresh: Project, number: int) -> None:
    with fresh.start(command="up") as coming:
        time.sleep(random.Random(number).uniform(0.5, 8))
        coming.send_signal(signal.SIGINT)
        _, errors = coming.communicate(timeout=60)
    assert b"Traceback" not in errors
    if coming.returncode == 0:  # it was up before
        said(fresh, "down")
    else:
        assert coming.returncode == 130, errors.decode()
    assert fresh.left() == []


def test_ctrl_c_on_pytest_ends_its_guest_and_keeps_its_results(fresh: Project) -> None:
    scenarios = str(ROOT / "tests" / "vm" / "test_scenarios.py")
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", scenarios]
    words += [
        "--winvm-config",
        str(fresh.config_path),
        "-k",
        "knows_the_time or busy",
        "--winvm-repeat",
        "50",
    ]
    # As a terminal does it: the whole process group gets the signal.
    running = subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        env=fresh.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    results = fresh.artifacts / "latest" / "results.json.partial"
    end = time.monotonic() + UP_S
    while not results.exists() or b'"outcome"' not in results.read_bytes():
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=60)
    assert running.returncode == pytest.ExitCode.INTERRUPTED, output.decode()
    assert fresh.latest()["counts"]["passed"] >= 1
    assert fresh.left() == []

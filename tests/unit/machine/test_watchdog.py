"""The QEMU of a run whose process is gone without a word is ended by its watchdog; a kept one lives on."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.memory_group import memory_group
from harness.machine.runfolder import KEPT
from harness.machine.watchdog import Watchdog
from tests.unit.machine.test_files import start_as_qemu

ROOT = Path(__file__).resolve().parents[3]
OWNER = """\
import sys, time
from pathlib import Path
from harness.machine.watchdog import Watchdog

dog = Watchdog(Path(sys.argv[1]), "kept")
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    return run


@pytest.fixture
def qemu(run: Path) -> Iterator[subprocess.Popen[bytes]]:
    with start_as_qemu(run / "bin") as process:
        (run / "guest.pid").write_text(str(process.pid))
        yield process
        process.kill()


def killed_owner(run: Path) -> None:
    """Holds the folder as a run does, and is killed."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(run)], cwd=ROOT, stdout=subprocess.PIPE)
    with owner:
        assert owner.stdout
        assert owner.stdout.readline() == b"held\n"
        owner.kill()


def test_a_killed_runs_qemu_ends_within_three_seconds(run: Path, qemu: subprocess.Popen[bytes]) -> None:
    killed_owner(run)
    assert qemu.wait(3.0) == -9


def test_a_kept_runs_qemu_lives_on(run: Path, qemu: subprocess.Popen[bytes]) -> None:
    (run / KEPT).touch()
    killed_owner(run)
    with pytest.raises(subprocess.TimeoutExpired):
        qemu.wait(1.5)


def test_a_qemu_that_is_just_being_started_ends_too(run: Path) -> None:
    killed_owner(run)
    time.sleep(0.3)
    with start_as_qemu(run / "bin") as process:
        (run / "guest.pid").write_text(str(process.pid))
        assert process.wait(3.0) == -9


def test_it_goes_with_the_folder(run: Path) -> None:
    dog = Watchdog(run, KEPT)
    run.rmdir()
    began = time.monotonic()
    dog.close()
    assert time.monotonic() - began < 0.8
    assert dog._process.returncode == 0


def test_it_stays_when_all_processes_of_the_runs_cgroup_are_killed(run: Path) -> None:
    group = memory_group(run)
    if group is None:
        pytest.skip("this host lets this process make no memory cgroup")
    dog = Watchdog(run, KEPT, group)
    try:
        until = time.monotonic() + 5
        while not (members := group.members.read_text().split()) and time.monotonic() < until:
            time.sleep(0.02)
        assert members == [str(dog._process.pid)]
    finally:
        dog.close()
        group.remove()
    assert not group.path.exists()

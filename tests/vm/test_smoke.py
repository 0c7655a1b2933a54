"""The smoke loop for real, in a copy of the project: new guest, warm, edited, killed, watched, ended."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.processes import qemu_processes
from tests.vm.conftest import ROOT, CommandLine

QUICK = ("-k", "register_1_round_trip or hello_names_the_contract")
VERDICT = re.compile(r"^smoke: (.+) in ([0-9.]+) s \(driver ([0-9a-f]{6}), (warm|new guest)\)$")
EDIT_TO_VERDICT_S = 20.0
IDLE_CORE = 0.005


class Project:
    """A copy of the sample driver's project that may be edited."""

    def __init__(self, folder: Path, winvm: CommandLine) -> None:
        self.folder = folder
        self.winvm = winvm
        for name in ("driver", "guest"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("build", "__pycache__"))
        # The contract's hash is made by the harness, which the Makefile looks for beside the driver.
        (folder / "harness").symlink_to(ROOT / "harness")
        shutil.copy(ROOT / "winvm.toml", folder)

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "harness", "--config", str(self.folder / "winvm.toml"), *arguments]

    def smoke(self, *arguments: str) -> tuple[str, float, str, str]:
        """One invocation: results, seconds, driver and guest of its verdict."""
        done = self.winvm.run(
            "--config", str(self.folder / "winvm.toml"), "smoke", *(arguments or QUICK), timeout=300
        )
        line = done.stdout.decode().splitlines()[-1]
        found = VERDICT.match(line)
        assert found, f"{line}\n{done.stdout.decode()}{done.stderr.decode()}"
        return found[1], float(found[2]), found[3], found[4]

    def edit(self, text: str) -> None:
        source = self.folder / "driver" / "src" / "cr42.c"
        source.write_text(source.read_text() + text)

    def qemu(self) -> int:
        [pid] = [pid for run in (self.winvm.home / "runs").iterdir() for pid in qemu_processes(run)]
        return pid


@pytest.fixture(scope="module")
def project(winvm: CommandLine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    project = Project(tmp_path_factory.mktemp("project"), winvm)
    yield project
    winvm.run("down")


def test_the_second_time_the_guest_is_warm(project: Project) -> None:
    assert project.smoke()[::3] == ("2 passed", "new guest")
    results, seconds, _, guest = project.smoke()
    assert (results, guest) == ("2 passed", "warm")
    assert seconds < EDIT_TO_VERDICT_S


def test_an_edited_driver_is_what_runs(project: Project) -> None:
    before = project.smoke()
    project.edit("/* edited */ extern int winvm_edited;\nint winvm_edited = 1;\n")
    _, seconds, driver, guest = project.smoke()
    assert guest == "warm"
    assert driver != before[2]
    assert seconds < EDIT_TO_VERDICT_S


def test_a_suspended_guest_costs_nothing(project: Project) -> None:
    project.smoke()
    stat = Path(f"/proc/{project.qemu()}/stat")

    def spent() -> float:
        fields = stat.read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = spent()
    time.sleep(5)
    assert (spent() - before) / 5 <= IDLE_CORE


def test_a_killed_guest_is_replaced_silently(project: Project) -> None:
    project.smoke()
    os.kill(project.qemu(), signal.SIGKILL)
    assert project.smoke()[::3] == ("2 passed", "new guest")
    assert project.smoke()[::3] == ("2 passed", "warm")


def test_two_at_once_follow_one_another(project: Project) -> None:
    project.smoke()
    results: list[tuple[str, float, str, str]] = []
    both = [threading.Thread(target=lambda: results.append(project.smoke())) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert [result[::3] for result in results] == [("2 passed", "warm")] * 2
    project.qemu()  # one guest


def test_watch_runs_on_a_save_and_ends_with_the_guest_kept(project: Project, tmp_path: Path) -> None:
    output = tmp_path / "output"
    with output.open("wb") as stream:
        watching = subprocess.Popen(
            project.command("smoke", "--watch", *QUICK),
            cwd=ROOT,
            env={**os.environ, "WINVM_HOME": str(project.winvm.home)},
            stdout=stream,
            stderr=stream,
            start_new_session=True,
            # A shell that runs the tests in the background has them ignore Ctrl-C.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def wait_for(verdicts: int) -> None:
        deadline = time.monotonic() + 120
        while output.read_text().count("smoke: ") < verdicts:
            assert time.monotonic() < deadline, output.read_text()
            assert watching.poll() is None, output.read_text()
            time.sleep(0.1)

    try:
        wait_for(1)
        project.edit("this does not compile\n")
        wait_for(2)
        assert "smoke: build failed" in output.read_text()
        source = project.folder / "driver" / "src" / "cr42.c"
        source.write_text(source.read_text().replace("this does not compile\n", ""))
        wait_for(3)
        time.sleep(2)  # the guest is suspended after the verdict
        os.killpg(watching.pid, signal.SIGINT)
        assert watching.wait(60) == 130
    finally:
        if watching.poll() is None:
            os.killpg(watching.pid, signal.SIGKILL)
    assert project.smoke()[3] == "warm"


def test_a_crash_last_leaves_a_warm_guest(project: Project) -> None:
    done = project.winvm.run(
        "--config", str(project.folder / "winvm.toml"), "smoke", "-k", "fault.bugcheck", timeout=300
    )
    assert done.returncode in (0, 4), done.stderr.decode()
    assert project.smoke()[::3] == ("2 passed", "warm")


def test_down_ends_every_guest(project: Project) -> None:
    project.smoke()
    project.winvm.ok("up", timeout=300)
    assert project.winvm.ok("down").startswith(b"Ended 2 guests")
    assert list((project.winvm.home / "runs").iterdir()) == []
    assert b"Would remove" in project.winvm.ok("prune", "--dry-run")

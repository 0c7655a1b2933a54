"""Faults around a real run: none loses results or leaves anything behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.soak.bench_owner import FILLER
from tests.soak.project import ROOT, Project, project
from tests.vm import own_libvirtd

QUICK = "endurance.knows_the_time"
RUN_S = 180


class Owner:
    """A running bench_owner.py."""

    def __init__(self, owned: Project, inside: tuple[str, ...] = ()) -> None:
        self.project = owned
        self.asked = 0
        self.process = subprocess.Popen(
            [*inside, sys.executable, "-m", "tests.soak.bench_owner", str(owned.config_path)],
            cwd=ROOT,
            env=owned.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.held = self._read()["held"]

    def run(self, scenario: str, fault: str = "", after: float = 1.0, **parameters: object) -> dict[str, Any]:
        assert self.process.stdin is not None
        command = {"run": scenario, "fault": fault, "after": after, "parameters": parameters}
        self.process.stdin.write(json.dumps(command) + "\n")
        self.process.stdin.flush()
        self.asked += 1
        answer = self._read()
        assert answer["fault failed"] == []
        return answer

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    """One guest for all faults that a run survives; in the end every result is there."""
    with project() as owned:
        running = Owner(owned)
        try:
            yield running
        finally:
            running.process.communicate(timeout=60)
        assert running.process.returncode == 0
        assert len(owned.latest()["scenarios"]) == running.asked
        assert owned.left() == []


@pytest.fixture
def fresh() -> Iterator[Project]:
    with project() as found:
        yield found


@pytest.mark.parametrize(
    ("fault", "victim", "outcome", "message"),
    [
        ("kill qemu", "endurance.busy", "lost", "was ended by SIGKILL"),
        ("kill winrmd", "endurance.busy", "lost", "agent failed to run"),
        ("stop qemu", "endurance.late", "lost", "is stopped by a signal; kill -CONT"),
        ("cut network", "endurance.late", "hung", "no progress"),
        ("cut and mend network", "endurance.busy", "passed", ""),
    ],
)
def test_the_scenario_is_named_and_the_next_one_passes(
    owner: Owner, fault: str, victim: str, outcome: str, message: str
) -> None:
    hit = owner.run(victim, fault)
    assert hit["outcome"] == outcome
    assert message in hit["message"]
    after = owner.run(QUICK)
    assert after["outcome"] == "passed"
    assert len(after["qemus"]) == 1


def test_a_lost_guests_logs_are_kept(owner: Owner) -> None:
    hit = owner.run("endurance.busy", "kill qemu")
    assert "ended by itself" in hit["message"]
    (note,) = [note for note in hit["notes"] if note.startswith("The logs of the lost guest")]
    kept = owner.project.artifacts / "latest" / note.split()[-1].rstrip(".")
    assert {file.name for file in kept.iterdir()} == {"qemu.log", "console.log", "journal.jsonl"}
    assert "winvm:" in (kept / "console.log").read_text() or (kept / "journal.jsonl").stat().st_size


def test_a_full_disk_under_the_guest_is_the_hosts_fault(fresh: Project) -> None:
    """A tmpfs holds the overlay; it is filled while the guest writes."""
    runs = fresh.home / "runs"
    runs.mkdir(exist_ok=True)
    small = ["mount", "-t", "tmpfs", "-o", "size=1700m,mode=700", "tmpfs", str(runs)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a tmpfs")
    try:
        running = Owner(fresh)
        try:
            hit = running.run("endurance.writes", "fill disk", after=0.0, mebibytes=400)
            (runs / FILLER).unlink()
            after = running.run(QUICK)
        finally:
            running.process.communicate(timeout=60)
        assert hit["outcome"] == "lost"
        assert "No space left on device on " in hit["message"]
        assert "disk.qcow2" in hit["message"]
        assert after["outcome"] == "passed"
    finally:
        subprocess.run(["umount", "--lazy", str(runs)], check=True)
    assert fresh.left() == []


@pytest.mark.parametrize("fault", ["clock a day ahead", "clock a day back"])
def test_a_step_of_the_guests_clock_disturbs_nothing_and_ends_with_the_next_restore(
    owner: Owner, fault: str
) -> None:
    assert owner.run("endurance.busy", fault, seconds=3)["outcome"] == "passed"
    (stepped,) = owner.run(QUICK)["notes"]
    assert abs(abs(float(stepped) - time.time()) - 86400) < 60
    assert owner.run("fault.bugcheck_with_parameters")["outcome"] == "passed"
    (restored,) = owner.run(QUICK)["notes"]
    assert abs(float(restored) - time.time()) < 60


def test_crashes_and_restores_leak_nothing(owner: Owner) -> None:
    before = owner.run(QUICK)["held"]
    for _ in range(4):
        assert owner.run("fault.bugcheck_with_parameters")["crash"] == "bugcheck"
    after = owner.run(QUICK)["held"]
    assert {name: after[name] for name in ("files", "threads", "children")} == {
        name: before[name] for name in ("files", "threads", "children")
    }
    assert after["rss_kib"] - before["rss_kib"] < 20 * 1024


def test_libvirtd_restarts_in_mid_run(tmp_path: Path) -> None:
    try:
        namespace = own_libvirtd.inside(tmp_path)
    except own_libvirtd.NoLibvirtdError as none:
        pytest.skip(f"no libvirtd: {none}")
    with project(uri="qemu:///system") as owned:
        running = Owner(owned, namespace)
        try:
            assert running.run("endurance.busy", "restart libvirtd", seconds=5)["outcome"] == "passed"
            assert running.run("fault.bugcheck_with_parameters")["outcome"] == "passed"
            after = running.run(QUICK)
            assert after["outcome"] == "passed"
            assert len(after["qemus"]) == 1
        finally:
            running.process.communicate(timeout=60)
        assert running.process.returncode == 0
        assert owned.latest()["counts"] == {"passed": 3}
        assert owned.left() == []


@pytest.mark.parametrize("interruption", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_says_so_and_leaves_nothing(fresh: Project, interruption: signal.Signals) -> None:
    """Here between its guest's start and its end; tests/soak interrupts and kills runs anywhere."""
    with fresh.start("-k", "busy", "--repeat", "20") as run:
        end = time.monotonic() + RUN_S
        while not fresh.ports():
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        run.send_signal(interruption)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors.decode()
    assert b"Traceback" not in errors
    assert fresh.left() == []


def test_two_runs_start_in_the_same_second(fresh: Project) -> None:
    with fresh.start("-k", "knows_the_time") as one, fresh.start("-k", "knows_the_time") as other:
        for run in (one, other):
            _, errors = run.communicate(timeout=RUN_S)
            assert run.returncode == 0, errors.decode()
    documents = [json.loads(path.read_bytes()) for path in fresh.artifacts.glob("2*/results.json")]
    assert [document["counts"] for document in documents] == [{"passed": 1}] * 2
    assert fresh.left() == []


def test_a_disk_that_is_full_of_artifacts_keeps_the_results_before(fresh: Project) -> None:
    fresh.artifacts.mkdir()
    small = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(fresh.artifacts)]
    if subprocess.run(small, capture_output=True, check=False).returncode:
        pytest.skip("this process may not mount a tmpfs")
    try:
        with fresh.start("-k", "prints", "--param", "lines=2000", "--repeat", "50") as run:
            output, errors = run.communicate(timeout=RUN_S)
        assert run.returncode == 3, (output + errors).decode()
        assert b"No space left" in output + errors
        assert b"Traceback" not in output + errors
        document = fresh.latest()
        assert document["counts"]["passed"] == len(document["scenarios"]) >= 1
        assert fresh.left() == []
    finally:
        subprocess.run(["umount", "--lazy", str(fresh.artifacts)], check=True)


def test_a_changed_image_disk_is_refused_by_its_checksum(fresh: Project) -> None:
    with fresh.start("-k", "knows_the_time") as run:
        run.communicate(timeout=RUN_S)
    image = fresh.own_images()
    for state in image.glob("ready-*"):
        state.unlink()
    whole = (image / "base.qcow2").resolve()
    (image / "base.qcow2").unlink()
    shutil.copy(whole, image)
    (image / "base.qcow2").chmod(0o600)
    with (image / "base.qcow2").open("r+b") as disk:
        disk.seek(300 << 20)
        disk.write(b"bit rot")
    with fresh.start("-k", "knows_the_time") as run:
        output, errors = run.communicate(timeout=RUN_S)
    assert run.returncode == 3, (output + errors).decode()
    assert b"SHA-256" in output + errors
    assert fresh.left() == []


def test_a_base_image_that_is_deleted_under_its_guest_ends_the_run_at_the_next_restore(
    fresh: Project,
) -> None:
    image = fresh.own_images()
    with fresh.start("-k", "knows_the_time or bugcheck_with_parameters", "--repeat", "500") as run:
        end = time.monotonic() + RUN_S
        while not fresh.growing_results.exists() or b'"passed"' not in fresh.growing_results.read_bytes():
            assert run.poll() is None
            assert time.monotonic() < end
            time.sleep(0.05)
        (image / "base.qcow2").unlink()
        output, errors = run.communicate(timeout=RUN_S)
    said = " ".join((output + errors).decode().split())
    assert run.returncode == 3, said
    assert "base.qcow2 is gone" in said
    assert "winvm image build" in said
    assert "Traceback" not in said
    assert set(fresh.latest()["counts"]) <= {"passed", "lost"}
    assert fresh.latest()["counts"]["passed"] >= 1
    assert fresh.left() == []

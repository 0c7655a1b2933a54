"""What a successful run removes by itself: old images and saved states, but none in use."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.machine.accelerator import QEMU
from harness.run.prune import qemu_has_open
from tests.soak.project import Project, project

RUN_S = 180
DAY_S = 86400.0


def old(folder: Path, days: float, disk: str) -> Path:
    """A folder such as an image or a saved state is, last used so many days ago."""
    folder.mkdir()
    (folder / "manifest.json").write_text("{}")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / disk), "1M"], check=True)
    then = time.time() - days * DAY_S
    for path in (folder / "manifest.json", folder):
        os.utime(path, (then, then))
    return folder


@pytest.fixture
def fresh() -> Iterator[Project]:
    with project() as found:
        yield found


def test_a_run_removes_what_is_superseded_and_nothing_that_is_in_use(fresh: Project) -> None:
    present = fresh.own_images()
    images = present.parent
    kept = [old(images / f"wine-{days}", days, "base.qcow2") for days in (1, 2, 3)]
    gone = [old(images / f"wine-{days}", days, "base.qcow2") for days in (4, 15)]
    gone += [old(present / "ready-15", 15, "disk.qcow2")]  # newer ones are there, as many as runs have made
    used = [old(images / "wine-30", 30, "base.qcow2"), old(present / "ready-30", 30, "disk.qcow2")]
    drives = [f"file={file},if=none,format=qcow2,readonly=on" for f in used for file in f.glob("*.qcow2")]
    words = [word for drive in drives for word in ("-drive", drive)]
    machine = [QEMU, "-machine", "none", "-nodefaults", "-display", "none", "-S", *words]
    with subprocess.Popen(machine, stdin=subprocess.DEVNULL) as qemu:
        try:
            while not all(qemu_has_open(file) for folder in used for file in folder.glob("*.qcow2")):
                assert qemu.poll() is None
                time.sleep(0.05)
            with fresh.start("-k", "knows_the_time") as run:
                output, errors = run.communicate(timeout=RUN_S)
            assert run.returncode == 0, (output + errors).decode()
        finally:
            qemu.kill()
    assert [folder for folder in gone if folder.exists()] == []
    assert [folder for folder in (*kept, *used, present) if not folder.exists()] == []
    journal = (fresh.artifacts / "latest" / "run.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in journal]
    (pruned,) = [step for step in steps if step.get("step") == "prune" and "removed" in step]
    assert set(map(str, gone)) <= set(pruned["removed"])
    assert fresh.left() == []

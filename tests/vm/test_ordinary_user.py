"""Guests without root: user id 1000 runs scenarios, crashes included, with libvirt's embedded driver."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.images import wine
from harness.project import config
from tests.vm.conftest import ROOT

UID = 1000
AS_USER = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
RUN_S = 600.0

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """The user's home folder, with the image that root built for it, as `sudo make image` leaves it."""
    if subprocess.run([*AS_USER, "test", "-r", __file__], check=False).returncode:
        pytest.skip("another user cannot read this checkout")
    shared = wine.find(config.home())
    assert shared, "there is no image yet"
    home = Path(tempfile.mkdtemp(prefix="wvu-"))
    image = home / "state" / "images" / shared.folder.name
    image.mkdir(parents=True)
    for file in shared.folder.iterdir():
        if not file.name.startswith("ready-"):
            subprocess.run(["cp", "-a", "--sparse=always", str(file), str(image)], check=True)
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(home)], check=True)
    subprocess.run(["chmod", "-R", "go=", str(home)], check=True)
    try:
        yield home
    finally:
        shutil.rmtree(home)


def winvm(home: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "WINVM_HOME": str(home / "state"), "CI": "true"}
    return subprocess.run(
        [*AS_USER, sys.executable, "-m", "harness", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=RUN_S,
        check=False,
    )


def test_an_ordinary_user_runs_scenarios_and_survives_a_crash(home: Path) -> None:
    assert winvm(home, home, "new-driver", "echo").returncode == 0
    for _ in range(2):  # the first one boots the guest and saves it, the second restores it
        done = winvm(home, home / "echo", "run")
        assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((home / "echo" / "artifacts" / "latest" / "results.json").read_bytes())
    assert results["counts"] == {"passed": 3}
    assert [one["crash"] is not None for one in results["scenarios"]].count(True) == 1
    assert not list((home / "state" / "runs").iterdir())
    assert {path.lstat().st_uid for path in home.rglob("*")} == {UID}


def test_the_users_host_is_found_fit(home: Path) -> None:
    done = winvm(home, home, "doctor")
    assert done.returncode == 0, done.stdout
    assert f"uid {UID}" in done.stdout

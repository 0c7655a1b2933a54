"""The package of docs/plugins.md, as it stands: its flavour is found by a profile, its report is written."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from harness.images import wine
from harness.journal import Journal
from tests.documented import ROOT, blocks
from tests.fakes.image_inputs import FakeBuild
from tests.fakes.recorded_runs import eventful_run

PLUGINS = ROOT / "docs" / "plugins.md"
FINDS = """
import sys
from pathlib import Path
from harness.guests.registry import find_flavour
from harness.journal import Journal
from harness.machine.accelerator import Accelerator
from harness.project.profiles import find_profile

project = Path(sys.argv[1])
found = find_flavour(find_profile("shared", project), Accelerator.TCG, project / "home", Journal())
print(found.image.folder, type(found.guest).__name__)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as pip leaves it, with the documented package."""
    folder = tmp_path_factory.mktemp("site")
    package = tomllib.loads(blocks(PLUGINS, "toml")[0])["project"]
    info = folder / f"{package['name'].replace('-', '_')}-{package['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package['name']}\nVersion: 1\n")
    lines = []
    for group, names in package["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
    (info / "entry_points.txt").write_text("\n".join(lines))
    (folder / "winvm_team.py").write_text(blocks(PLUGINS, "python")[0])
    return folder


def run(installed: Path, folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(installed), "WINVM_HOME": str(folder / "home")}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_profile_takes_the_image_that_it_names(installed: Path, tmp_path: Path) -> None:
    image = wine.ensure(tmp_path / "elsewhere", Journal(), FakeBuild())
    profile = blocks(PLUGINS, "toml")[1].replace("/srv/winvm/wine-1234567890ab", str(image.folder))
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "shared.toml").write_text(profile)
    assert run(installed, tmp_path, "-c", FINDS, str(tmp_path)).split() == [str(image.folder), "WineGuest"]
    assert "cannot be loaded" not in run(installed, tmp_path, "-m", "harness", "image", "list")


def test_its_report_is_written_of_a_run(installed: Path, tmp_path: Path) -> None:
    folder = eventful_run(tmp_path, "20261121-052424-ad79c2")
    run(installed, tmp_path, "-m", "harness", "report", str(folder))
    failed = (folder / "failed.txt").read_text().splitlines()
    assert "async.cancel_while_completing" in failed
    assert "registers.set_and_get" not in failed


def test_it_is_typed(installed: Path) -> None:
    assert "no issues found" in run(installed, installed, "-m", "mypy", "--strict", "winvm_team.py")

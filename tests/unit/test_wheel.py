"""The wheel alone, in a bare virtual environment, is enough for another repository."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SCENARIO = '''
from agent import Context, scenario


@scenario(needs=("irql",))
def ping(t: Context) -> None:
    """The driver answers."""


@scenario(cases=[1, 2], expect_dbgprint=["pong"])
def count(t: Context, number: int) -> None:
    """Counting works."""
'''


def build_wheel(folder: Path) -> Path:
    """winvm's wheel, built into a folder."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    constraints = ROOT / "vm" / "host" / "constraints.txt"
    command = [str(folder / "bin" / "pip"), "install", "--quiet", "-c", str(constraints), str(wheel)]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    return folder / "bin" / "python"


def test_the_wheel_ships_what_runs_in_the_guest(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "harness/_bundled/guest/agent/__main__.py",
        "harness/_bundled/guest/winrmd/server.py",
        "harness/_bundled/guest/scenarios/contract.py",
        "harness/_bundled/vm/profiles/wine.toml",
        "harness/_bundled/vm/wine/recipe.toml",
        "harness/_bundled/driver/include/winvm_contract.h",
        "harness/dumps/data/bugchecks.json",
        "harness/_bundled/driver/wdk/exports/ntoskrnl.exe.txt",
        "harness/_bundled/driver/wdk/include/wdm.h",
        "harness/_bundled/driver/wdk/lib/wdmsec.c",
        "harness/report/page.html",
        "harness/report/page.css",
        "harness/py.typed",
        "agent-stubs/__init__.pyi",
        "agent-stubs/win32/device.pyi",
        "harness/templates/driver/scenarios/__init__.py",
        "harness/templates/driver/Makefile",
        "harness/templates/driver/gitignore",
        "harness/templates/init/winvm.toml",
        "harness/templates/ci/github.yml",
        "harness/_bundled/vm/host/install.sh",
        "harness/_bundled/vm/host/packages-fedora.txt",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith(("tests/", "harness/_bundled/tests"))]


def test_it_installs_and_answers_where_libvirt_is_not(python: Path, tmp_path: Path) -> None:
    def winvm(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(python.with_name("winvm")), *arguments]
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment["WINVM_HOME"] = str(tmp_path / "home")
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
        )

    absent = subprocess.run([str(python), "-c", "import libvirt"], capture_output=True, check=False)
    assert absent.returncode == 1
    doctor = winvm("doctor")
    assert doctor.returncode == 3
    assert "libvirt's Python module cannot be loaded" in doctor.stdout
    assert "Run: winvm host install" in doctor.stdout
    assert winvm("init", "--name", "mine", "--ci", "gitlab").returncode == 0
    run = winvm("run")
    assert run.returncode in (2, 3)
    for done in (doctor, run):
        assert "Traceback" not in done.stdout + done.stderr
    dry = winvm("host", "install", "--dry-run")
    assert (dry.returncode, dry.stdout.splitlines()[-1]) == (0, "pip: libvirt-python>=10")


def test_another_repository_collects_its_scenarios(python: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.py").write_text(SCENARIO)
    (tmp_path / "winvm.toml").write_text('[driver]\nname = "mine"\n[scenarios]\nfolders = ["scenarios"]\n')
    (tmp_path / "test_driver.py").write_text("def test_driver(winvm_scenario):\n    winvm_scenario.check()\n")
    command = [str(python), "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[:3] == [
        "test_driver.py::test_driver[mine.ping]",
        "test_driver.py::test_driver[mine.count[1]]",
        "test_driver.py::test_driver[mine.count[2]]",
    ]


def test_a_new_driver_is_written_and_built(python: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    for command, folder in (
        ([str(python), "-m", "harness", "new-driver", "echo"], tmp_path),
        (["make"], tmp_path / "echo"),
        ([str(python), "-m", "harness", "build"], tmp_path / "echo"),
    ):
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "checked: " in done.stdout


def test_a_broken_scenario_is_one_clear_error(python: Path, tmp_path: Path) -> None:
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "mine.py").write_text("import nothing_of_that_name\n")
    (tmp_path / "winvm.toml").write_text("[scenarios]\nfolders = ['scenarios']\n")
    (tmp_path / "test_driver.py").write_text("def test_driver(winvm_scenario):\n    winvm_scenario.check()\n")
    command = [str(python), "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "nothing_of_that_name" in done.stderr
    assert "mine.py:1" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr

"""The zipapp as it is shipped: reproducible, complete, fails readably."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from harness.transports import serial_frames, serial_link, serial_messages

PACKAGE = Path(__file__).parents[3] / "guest" / "seriald"


def build(target: Path) -> Path:
    subprocess.run([sys.executable, PACKAGE / "archive.py", target], check=True)
    return target


def test_bytes_depend_on_the_sources_alone(tmp_path: Path) -> None:
    first = build(tmp_path / "first.pyz").read_bytes()
    os.utime(PACKAGE / "service.py")
    assert build(tmp_path / "second.pyz").read_bytes() == first


@pytest.mark.parametrize(
    "module", [serial_frames, serial_link, serial_messages], ids=lambda one: one.__name__
)
def test_both_ends_have_the_same_frames_and_messages(tmp_path: Path, module: object) -> None:
    source = Path(str(module.__file__))  # type: ignore[attr-defined]
    with zipfile.ZipFile(build(tmp_path / "seriald.pyz")) as archive:
        assert archive.read(f"seriald/{source.name}") == source.read_bytes()


@pytest.mark.parametrize(("arguments", "said"), [([], "usage"), (["COM3"], "on Windows only")])
def test_a_wrong_start_ends_with_code_2(tmp_path: Path, arguments: list[str], said: str) -> None:
    archive = build(tmp_path / "seriald.pyz")
    done = subprocess.run(
        [sys.executable, "-I", archive, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_it_holds_every_module_that_it_imports_in_the_guest(tmp_path: Path) -> None:
    with zipfile.ZipFile(build(tmp_path / "seriald.pyz")) as archive:
        held = set(archive.namelist())
        imported = {
            name
            for member in held
            for name in re.findall(
                r"^ *from ((?:seriald|winrmd)\.\w+) import", archive.read(member).decode(), re.MULTILINE
            )
        }
    assert {f"{name.replace('.', '/')}.py" for name in imported} <= held

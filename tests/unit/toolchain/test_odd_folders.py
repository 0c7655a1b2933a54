"""Builds in folders with spaces and other letters than ASCII, with the C locale."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.project.scaffold import write_driver

ROOT = Path(__file__).resolve().parents[3]
ODD = "my drivers/\u4e2d\u6587 \xe9"


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """An interpreter whose own path has spaces and such letters."""
    program = tmp_path / ODD / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    program.chmod(0o755)
    return program


def make(folder: Path, *words: str) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    environment.pop("LANG", None)
    done = subprocess.run(["make", *words], cwd=folder, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()


def test_a_new_driver_is_built(tmp_path: Path, python: Path) -> None:
    folder = tmp_path / ODD / "pend"
    write_driver(folder, "pend")
    (folder / "local.mk").write_text(f"PYTHON ?= {python}\n")
    make(folder, "BUILD=release")
    assert (folder / "build" / "release" / "pend.sys").is_file()


def test_a_checkout_of_the_sample_driver_is_built_and_nothing_else_appears(
    tmp_path: Path, python: Path
) -> None:
    checkout = tmp_path / ODD / "checkout"
    checkout.mkdir()
    shutil.copytree(ROOT / "driver", checkout / "driver", ignore=shutil.ignore_patterns("build"))
    (checkout / "harness").symlink_to(ROOT / "harness")
    before = sorted(checkout.rglob("*"))
    make(checkout / "driver", "OUT=../build/release", f"PYTHON={python}")
    assert (checkout / "build" / "release" / "winvm.sys").is_file()
    shutil.rmtree(checkout / "build")
    assert sorted(checkout.rglob("*")) == before


def test_the_c_locale_reads_a_checkout_with_such_a_path(tmp_path: Path) -> None:
    """Python 3.11 decodes the file that adds the checkout to its path by the locale: it has ASCII only."""
    (added,) = Path(sys.prefix).glob("lib/python3*/site-packages/*editable*winvm*.pth")
    assert added.read_text(encoding="ascii").strip() == "../../../.."
    assert (added.parent / "../../../..").resolve() == ROOT

"""tests/second_driver is what `winvm new-driver second` writes today, and one scenario module besides."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.project.scaffold import write_driver

ROOT = Path(__file__).resolve().parents[3]
COMMITTED = ROOT / "tests" / "second_driver"
ADDED = "scenarios/twist.py"
NOT_COMMITTED = {"build", "artifacts", "__pycache__", "local.mk"}


def files(folder: Path) -> dict[str, str]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    kept = [
        path.relative_to(folder) for path in found if not NOT_COMMITTED & set(path.relative_to(folder).parts)
    ]
    return {path.as_posix(): (folder / path).read_text() for path in kept}


def test_it_is_what_the_command_writes(tmp_path: Path) -> None:
    write_driver(tmp_path / "second", "second")
    committed = files(COMMITTED)
    assert committed.pop(ADDED)
    assert committed == files(tmp_path / "second"), "write it anew: winvm new-driver second"


def test_its_scenarios_are_typed(tmp_path: Path) -> None:
    (tmp_path / "agent").symlink_to(ROOT / "guest" / "agent")
    (tmp_path / "scenarios").symlink_to(COMMITTED / "scenarios")
    environment = {**os.environ, "MYPYPATH": str(tmp_path)}
    options = ["--strict", "--config-file=", "--explicit-package-bases", "--namespace-packages"]
    command = [sys.executable, "-m", "mypy", *options, "-p", "scenarios"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout

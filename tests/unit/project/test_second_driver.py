"""The project that `winvm new-driver second` writes takes another scenario module, and all of it is typed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.fakes.second_driver import write_second_driver

ROOT = Path(__file__).resolve().parents[3]


def test_its_scenarios_are_typed(tmp_path: Path) -> None:
    project = write_second_driver(tmp_path / "second")
    (tmp_path / "agent").symlink_to(ROOT / "guest" / "agent")
    (tmp_path / "scenarios").symlink_to(project / "scenarios")
    environment = {**os.environ, "MYPYPATH": str(tmp_path)}
    options = ["--strict", "--config-file=", "--explicit-package-bases", "--namespace-packages"]
    command = [sys.executable, "-m", "mypy", *options, "-p", "scenarios"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    checked = {path.name for path in (project / "scenarios").glob("*.py")}
    assert checked >= {"basics.py", "contract.py", "twist.py"}

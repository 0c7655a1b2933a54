"""The serial endpoint's archive: complete, and the same bytes each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUILDER = Path(__file__).parents[3] / "guest" / "seriald" / "archive.py"


def test_the_archive_has_every_module_that_it_imports(tmp_path: Path) -> None:
    archives = [tmp_path / "one.pyz", tmp_path / "two.pyz"]
    for archive in archives:
        subprocess.run([sys.executable, str(BUILDER), str(archive)], check=True)
    imports = "import sys; sys.path.insert(0, sys.argv[1]); import seriald.service, winrmd.commandline"
    subprocess.run([sys.executable, "-I", "-c", imports, str(archives[0])], check=True, cwd=tmp_path)
    assert archives[0].read_bytes() == archives[1].read_bytes()

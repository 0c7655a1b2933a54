"""A run folder is gone after a signal, wherever in its making or its use the signal arrives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SIGNALLED_AFTER = """\
import os, signal, sys
from pathlib import Path
from harness.host import interrupts
from harness.machine.runfolder import RunFolder

def signalled(frame, event, result):
    if event == "return" and frame.f_code.co_name == sys.argv[2]:
        sys.setprofile(None)
        os.kill(os.getpid(), signal.SIGTERM)

interrupts.install()
sys.setprofile(signalled)
RunFolder.create(Path(sys.argv[1]) / "runs")
print("no signal came")
"""


@pytest.mark.parametrize("function", ["private_folder", "mkdir", "take", "rename", "_opened", "create"])
def test_a_signal_in_the_making_of_a_run_folder_leaves_none(tmp_path: Path, function: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SIGNALLED_AFTER, str(tmp_path), function],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "KeyboardInterrupt" in done.stderr, done.stderr
    assert not done.stdout
    assert list((tmp_path / "runs").iterdir()) == []

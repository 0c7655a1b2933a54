"""The reaper of adopted processes: in a process of its own, whose children are real."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

# A direct child is dead and not waited for; then an orphan with a session of its own dies.
OWNER = """
import os, signal, subprocess, sys, time
from pathlib import Path
from harness.machine.processes import adopt_qemus, ended_by
root = Path(sys.argv[2])
adopt_qemus(root)
first = subprocess.Popen(["true"])
time.sleep(0.2)
lines = subprocess.run(
    ["sh", "-c", 'setsid "$0" 60 > /dev/null 2>&1 & echo $!', sys.argv[1]], stdout=subprocess.PIPE, text=True
)
orphan = int(lines.stdout)
if "recorded" in sys.argv:
    (root / "guest.pid").write_text(str(orphan))
end = time.monotonic() + 10
while b"sh" in open(f"/proc/{orphan}/comm", "rb").read() and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.1)
os.kill(orphan, signal.SIGKILL)
end = time.monotonic() + 5
while os.path.exists(f"/proc/{orphan}") and time.monotonic() < end:
    time.sleep(0.01)
print(os.path.exists(f"/proc/{orphan}"), ended_by(orphan), first.wait())
"""


def reaped(tmp_path: Path, name: str, *how: str) -> str:
    program = tmp_path / name
    shutil.copy(str(shutil.which("sleep")), program)
    root = tmp_path / "root"
    root.mkdir()
    words = [sys.executable, "-c", OWNER, str(program), str(root), *how]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_dead_child_of_another_does_not_keep_an_adopted_qemu_waiting(tmp_path: Path) -> None:
    assert reaped(tmp_path, "qemu-system-x86_64") == "False 9 0\n"


def test_the_inner_process_of_a_killed_bubblewrap_is_reaped(tmp_path: Path) -> None:
    assert reaped(tmp_path, "bwrap") == "False 9 0\n"


def test_a_launcher_that_is_killed_before_it_has_qemus_name_is_reaped(tmp_path: Path) -> None:
    """libvirt waits for the end of the process id that its pidfile holds, for as long as it is a zombie."""
    assert reaped(tmp_path, "python3", "recorded") == "False 9 0\n"


def test_an_orphan_that_is_no_qemu_is_not_taken_from_its_owner(tmp_path: Path) -> None:
    assert reaped(tmp_path, "python3") == "True 0 0\n"
